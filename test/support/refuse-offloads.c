/*
 * Stands in front of libc and refuses what older kernels and some devices refuse, as they do: preloaded into an agent,
 * REFUSE names what is refused, by commas.
 *   uso  UDP segments from a TUN device (before Linux 6.2)
 *   tso  any segments and unfinished checksums from a TUN device
 *   gso  UDP segmentation on a socket (before 4.18)
 *   gro  joined reception on a socket (before 5.0)
 *   eio  sending with UDP segmentation: the way out has no checksumming, which only shows when it is tried
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TUNSETOFFLOAD 0x400454d0ul
#define TUN_F_ALL_TSO 0x07ul
#define TUN_F_ALL_USO 0x60ul
#define SOL_UDP 17
#define UDP_SEGMENT 103
#define UDP_GRO 104

static int refuses(const char *what) {
  const char *list = getenv("REFUSE");
  return list != NULL && strstr(list, what) != NULL;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
  static int (*real)(int, int, int, const void *, socklen_t);
  if (real == NULL) real = dlsym(RTLD_NEXT, "setsockopt");
  if (level == SOL_UDP && ((option == UDP_SEGMENT && refuses("gso")) || (option == UDP_GRO && refuses("gro")))) {
    errno = ENOPROTOOPT;
    return -1;
  }
  return real(fd, level, option, value, length);
}

int ioctl(int fd, unsigned long request, ...) {
  static int (*real)(int, unsigned long, void *);
  if (real == NULL) real = dlsym(RTLD_NEXT, "ioctl");
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  unsigned long bits = (unsigned long)argument;
  if (request == TUNSETOFFLOAD &&
      (((bits & TUN_F_ALL_USO) != 0 && refuses("uso")) || ((bits & TUN_F_ALL_TSO) != 0 && refuses("tso")))) {
    errno = EINVAL;
    return -1;
  }
  return real(fd, request, argument);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
  static int (*real)(int, struct mmsghdr *, unsigned, int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "sendmmsg");
  if (!refuses("eio")) return real(fd, messages, count, flags);
  unsigned plain = 0;
  while (plain < count && messages[plain].msg_hdr.msg_controllen == 0) plain++;
  if (plain > 0) return real(fd, messages, plain, flags);
  errno = EIO;
  return -1;
}
