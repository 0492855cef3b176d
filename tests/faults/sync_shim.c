// Loaded before the C library: fsync and fdatasync as slow or as broken as the file SYNC_PLAN says ("delay_ms fail").
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int planned(int fd, const char *name) {
  char text[32] = {0};
  int delay = 0, fail = 0, plan = getenv("SYNC_PLAN") ? open(getenv("SYNC_PLAN"), O_RDONLY) : -1;
  if (plan >= 0 && read(plan, text, sizeof text - 1) > 0) sscanf(text, "%d %d", &delay, &fail);
  if (plan >= 0) close(plan);
  if (delay) usleep(delay * 1000);
  if (fail) return errno = EIO, -1;
  return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fsync(int fd) { return planned(fd, "fsync"); }
int fdatasync(int fd) { return planned(fd, "fdatasync"); }
