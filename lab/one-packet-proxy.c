/*
 * The plain way to carry IP packets in UDP datagrams: a poll loop that moves one packet with each system call, no
 * offloads, no checks of the sender. It is what the udp backend is measured against, and a peer that knows nothing but
 * the wire format. Usage: one-packet-proxy DEVICE LOCAL-IP PORT TUNNEL-IP MTU NET/LEN=HOST...
 * The device is made, not persistent and not configured; "ready NAME" is printed when it can be. As with upstream, DEVICE
 * may be a pattern (flannel%d), of which the kernel takes the first free name.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct route {
  in_addr_t net, mask;
  struct sockaddr_in hop;
};

static struct route routes[65536];
static int route_count;
static in_addr_t tunnel_address;
static int tun, sock;
static size_t mtu;
static char *buffer;
static char device[IFNAMSIZ];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint16_t sum16(const void *data, size_t bytes) {
  const uint16_t *word = data;
  uint32_t sum = 0;
  for (; bytes > 1; bytes -= 2) sum += *word++;
  if (bytes == 1) sum += *(const uint8_t *)word;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

/* A hit moves to the front by one exchange, so that busy routes are found soon. */
static struct sockaddr_in *find_hop(in_addr_t destination) {
  for (int i = 0; i < route_count; i++) {
    if ((destination & routes[i].mask) != routes[i].net) continue;
    if (i > 0) {
      struct route hit = routes[i];
      routes[i] = routes[0];
      routes[0] = hit;
    }
    return &routes[0].hop;
  }
  return NULL;
}

static int take_hop(struct iphdr *ip) {
  if (--ip->ttl == 0) return 0;
  uint32_t sum = ip->check + htons(0x0100);
  ip->check = (uint16_t)(sum + (sum >= 0xffff));
  return 1;
}

static void send_unreachable(const struct iphdr *offender) {
  struct {
    struct iphdr ip;
    struct icmphdr icmp;
    char quoted[sizeof(struct iphdr) + 40 + 8];
  } reply;
  size_t quoted = offender->ihl * 4 + 8;
  if (offender->protocol == IPPROTO_ICMP || (offender->frag_off & htons(0x1fff)) != 0) return;
  memset(&reply, 0, sizeof reply);
  reply.ip.version = 4;
  reply.ip.ihl = 5;
  reply.ip.ttl = 8;
  reply.ip.protocol = IPPROTO_ICMP;
  reply.ip.tot_len = htons(sizeof reply.ip + sizeof reply.icmp + quoted);
  reply.ip.saddr = tunnel_address;
  reply.ip.daddr = offender->saddr;
  reply.ip.check = sum16(&reply.ip, sizeof reply.ip);
  reply.icmp.type = ICMP_DEST_UNREACH;
  reply.icmp.code = ICMP_NET_UNREACH;
  memcpy(reply.quoted, offender, quoted);
  reply.icmp.checksum = sum16(&reply.icmp, sizeof reply.icmp + quoted);
  if (write(tun, &reply, sizeof reply.ip + sizeof reply.icmp + quoted) < 0) return;
}

static int from_device(void) {
  ssize_t bytes = read(tun, buffer, mtu);
  if (bytes < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) fail("read of the device");
    return 0;
  }
  if (bytes < (ssize_t)sizeof(struct iphdr)) return 1;
  struct iphdr *ip = (struct iphdr *)buffer;
  if (ip->version != 4) return 1;
  struct sockaddr_in *hop = find_hop(ip->daddr);
  if (hop == NULL) {
    send_unreachable(ip);
  } else if (take_hop(ip)) {
    if (sendto(sock, buffer, bytes, 0, (struct sockaddr *)hop, sizeof *hop) < 0 && errno == EBADF) fail("send");
  }
  return 1;
}

static int from_socket(void) {
  ssize_t bytes = recv(sock, buffer, mtu, MSG_DONTWAIT);
  if (bytes < 0) return 0;
  if (bytes < (ssize_t)sizeof(struct iphdr)) return 1;
  struct iphdr *ip = (struct iphdr *)buffer;
  if (!take_hop(ip)) return 1;
  while (write(tun, buffer, bytes) < 0 && errno == EAGAIN) continue;
  return 1;
}

static void open_device(const char *name) {
  struct ifreq request;
  tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (tun < 0) fail("/dev/net/tun");
  memset(&request, 0, sizeof request);
  snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(tun, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
  snprintf(device, sizeof device, "%s", request.ifr_name);
}

static void open_socket(const char *address, int port) {
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {inet_addr(address)}};
  sock = socket(AF_INET, SOCK_DGRAM, 0);
  if (sock < 0 || bind(sock, (struct sockaddr *)&local, sizeof local) < 0) fail("UDP socket");
}

static void add_route(const char *text, int port) {
  char net[64], host[64];
  int length;
  if (sscanf(text, "%63[^/]/%d=%63s", net, &length, host) != 3) fail(text);
  in_addr_t mask = length == 0 ? 0 : htonl(~0u << (32 - length));
  struct sockaddr_in hop = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {inet_addr(host)}};
  routes[route_count++] = (struct route){inet_addr(net) & mask, mask, hop};
}

int main(int argc, char **argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: one-packet-proxy DEVICE LOCAL-IP PORT TUNNEL-IP MTU NET/LEN=HOST...\n");
    return 2;
  }
  int port = atoi(argv[3]);
  tunnel_address = inet_addr(argv[4]);
  mtu = (size_t)atoi(argv[5]);
  buffer = malloc(mtu);
  for (int i = 6; i < argc; i++) add_route(argv[i], port);
  open_device(argv[1]);
  open_socket(argv[2], port);
  printf("ready %s\n", device);
  fflush(stdout);
  struct pollfd waiting[2] = {{.fd = tun, .events = POLLIN}, {.fd = sock, .events = POLLIN}};
  for (;;) {
    if (poll(waiting, 2, -1) < 0 && errno != EINTR) fail("poll");
    int active;
    do {
      active = 0;
      if (from_device()) active = 1;
      if (from_socket()) active = 1;
    } while (active);
  }
}
