// Packets for measurements: as fast as the kernel takes them, counted, or there and back with a clock. iperf3's
// own UDP sender makes one system call for each packet and is slower than what is measured.
//
//   packet-probe receive PORT              counts until stdin ends; prints the number of datagrams and the seconds from
//                                          the first to the last
//   packet-probe longest-gap PORT          until stdin ends; prints the longest time in milliseconds between two datagrams
//   packet-probe send ADDRESS PORT EVERY_US until stdin ends, a small datagram each time; prints how many
//   packet-probe flood ADDRESS PORT BYTES SECONDS
//   packet-probe echo PORT                 until stdin ends
//   packet-probe round-trips ADDRESS PORT BYTES COUNT PAUSE_US
//                                          one at a time; prints each in microseconds, 1000000 for a lost one
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, LARGEST = 2048, LOST_AFTER_MS = 200 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in address_of(const char *ip, const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  if (inet_pton(AF_INET, ip, &address.sin_addr) != 1) {
    fprintf(stderr, "no IPv4 address: %s\n", ip);
    exit(2);
  }
  return address;
}

static int open_socket(void) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  int bytes = 4 << 20;
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  return fd;
}

static int bound_socket(const char *port) {
  int fd = open_socket();
  struct sockaddr_in address = address_of("0.0.0.0", port);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
  puts("listening");
  fflush(stdout);
  return fd;
}

static int connected_socket(const char *ip, const char *port) {
  int fd = open_socket();
  struct sockaddr_in address = address_of(ip, port);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
  return fd;
}

static void prepare(struct mmsghdr *messages, struct iovec *pieces, char (*buffers)[LARGEST], size_t bytes) {
  memset(messages, 0, BATCH * sizeof *messages);
  for (int i = 0; i < BATCH; i++) {
    pieces[i] = (struct iovec){buffers[i], bytes};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
}

static struct mmsghdr messages[BATCH];
static struct iovec pieces[BATCH];
static char buffers[BATCH][LARGEST];

static void receive(const char *port) {
  struct pollfd fds[2] = {{bound_socket(port), POLLIN, 0}, {0, POLLIN, 0}};
  long packets = 0;
  double first = 0, last = 0;
  prepare(messages, pieces, buffers, LARGEST);
  for (;;) {
    int count = recvmmsg(fds[0].fd, messages, BATCH, MSG_DONTWAIT, NULL);
    if (count > 0) {
      last = now();
      if (packets == 0) first = last;
      packets += count;
      continue;
    }
    if (poll(fds, 2, -1) < 0 && errno != EINTR) die("poll");
    if (fds[1].revents != 0) break;
  }
  printf("%ld %.6f\n", packets, last - first);
}

static void longest_gap(const char *port) {
  struct pollfd fds[2] = {{bound_socket(port), POLLIN, 0}, {0, POLLIN, 0}};
  double last = 0, longest = 0;
  for (;;) {
    if (poll(fds, 2, -1) < 0 && errno != EINTR) die("poll");
    if (fds[1].revents != 0) break;
    if (recv(fds[0].fd, buffers[0], LARGEST, MSG_DONTWAIT) < 0) continue;
    double at = now();
    if (last != 0 && at - last > longest) longest = at - last;
    last = at;
  }
  printf("%.3f\n", longest * 1e3);
}

static void send_regularly(const char *ip, const char *port, int every_us) {
  int fd = connected_socket(ip, port);
  struct pollfd end = {0, POLLIN, 0};
  long packets = 0;
  while (poll(&end, 1, 0) == 0) {
    packets++;
    if (send(fd, buffers[0], 16, 0) < 0 && errno != ECONNREFUSED && errno != ENOBUFS) die("send");
    usleep(every_us);
  }
  printf("%ld\n", packets);
}

static void flood(const char *ip, const char *port, size_t bytes, double seconds) {
  int fd = connected_socket(ip, port);
  long packets = 0;
  prepare(messages, pieces, buffers, bytes);
  for (double end = now() + seconds; now() < end;) {
    int count = sendmmsg(fd, messages, BATCH, 0);
    if (count > 0) packets += count;
    else if (errno != ENOBUFS && errno != ECONNREFUSED && errno != EAGAIN) die("sendmmsg");
  }
  printf("%ld\n", packets);
}

static void echo(const char *port) {
  struct pollfd fds[2] = {{bound_socket(port), POLLIN, 0}, {0, POLLIN, 0}};
  for (;;) {
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    if (poll(fds, 2, -1) < 0 && errno != EINTR) die("poll");
    if (fds[1].revents != 0) return;
    ssize_t bytes = recvfrom(fds[0].fd, buffers[0], LARGEST, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
    if (bytes >= 0) sendto(fds[0].fd, buffers[0], bytes, 0, (struct sockaddr *)&from, length);
  }
}

static void round_trips(const char *ip, const char *port, size_t bytes, long count, long pause_us) {
  int fd = connected_socket(ip, port);
  for (long number = 1; number <= count; number++) {
    memcpy(buffers[0], &number, sizeof number);
    double start = now(), took = 0;
    if (send(fd, buffers[0], bytes, 0) < 0) die("send");
    while (took == 0) {
      struct pollfd wait = {fd, POLLIN, 0};
      long answered = 0;
      if (poll(&wait, 1, LOST_AFTER_MS) == 0) break;
      if (recv(fd, buffers[1], LARGEST, MSG_DONTWAIT) < (ssize_t)sizeof answered) continue;
      memcpy(&answered, buffers[1], sizeof answered);
      if (answered == number) took = now() - start; // else a late one that was counted as lost
    }
    printf("%.2f\n", took == 0 ? 1e6 : took * 1e6);
    if (pause_us > 0) usleep(pause_us);
  }
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  if (!strcmp(mode, "receive") && argc == 3) receive(argv[2]);
  else if (!strcmp(mode, "echo") && argc == 3) echo(argv[2]);
  else if (!strcmp(mode, "longest-gap") && argc == 3) longest_gap(argv[2]);
  else if (!strcmp(mode, "send") && argc == 5) send_regularly(argv[2], argv[3], atoi(argv[4]));
  else if (!strcmp(mode, "flood") && argc == 6) flood(argv[2], argv[3], atoi(argv[4]), atof(argv[5]));
  else if (!strcmp(mode, "round-trips") && argc == 7)
    round_trips(argv[2], argv[3], atoi(argv[4]), atol(argv[5]), atol(argv[6]));
  else {
    fprintf(stderr, "usage: see the head of packet-probe.c\n");
    return 2;
  }
  return 0;
}
