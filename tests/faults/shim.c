// Counts the calls of a process that change files below a directory, and fails one of them. It is
// loaded by LD_PRELOAD; the test writes what to fail into a file that the process maps.
//
//   CHAIN_FAULTS_FOLDER   the directory, as an absolute path without links
//   CHAIN_FAULTS_CONTROL  the file with `struct control`
//   CHAIN_FAULTS_LOG      a file to which each call is appended: its kind and its path
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct control {
    // The number of matching calls to let pass before one fails; negative for no fault.
    _Atomic int32_t countdown;
    int32_t error;
    // The number of calls that failed.
    _Atomic uint32_t failed;
    // The kind and the path of the call to fail, relative to the directory.
    char call[PATH_MAX];
};

static struct control *control;
static const char *folder;
static int log_file = -1;

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("CHAIN_FAULTS_CONTROL"), *log = getenv("CHAIN_FAULTS_LOG");
    folder = getenv("CHAIN_FAULTS_FOLDER");
    if (!folder || !file || !log) return;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
    log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || log_file < 0 || map == MAP_FAILED) {
        fprintf(stderr, "shim: cannot open %s or %s\n", file, log);
        abort();
    }
    control = map;
}

// Returns the length of a path without the part of its name that differs from run to run.
static int stable_length(const char *path) {
    // Files of rows are numbered from a random number on.
    if (strncmp(path, "runs/", 5) == 0) return 5;
    static const char *const prefixes[] = {".tmp", ".permissions-"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t at = 0; at < sizeof prefixes / sizeof *prefixes; at++) {
        size_t length = strlen(prefixes[at]);
        if (strncmp(name, prefixes[at], length) == 0) return name + length - path;
    }
    return strlen(path);
}

// Logs a call if it concerns the directory. Returns whether it has to fail, with errno set.
static int fails(const char *kind, const char *path) {
    size_t length = folder ? strlen(folder) : 0;
    if (!control || strncmp(path, folder, length) != 0) return 0;
    if (path[length] != '/' && path[length] != 0) return 0;
    const char *relative = path[length] ? path + length + 1 : ".";
    int saved = errno;
    char line[PATH_MAX + 32];
    int bytes = snprintf(line, sizeof line, "%s %.*s\n", kind, stable_length(relative), relative);
    syscall(SYS_write, log_file, line, bytes);
    errno = saved;
    line[bytes - 1] = 0;
    if (atomic_load(&control->countdown) < 0 || strcmp(line, control->call) != 0) return 0;
    if (atomic_fetch_sub(&control->countdown, 1) != 0) return 0;
    atomic_fetch_add(&control->failed, 1);
    errno = control->error;
    return 1;
}

static int fails_on(const char *kind, int fd) {
    if (!control) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

#define NEXT(result, name, ...)                                    \
    static result (*next)(__VA_ARGS__);                            \
    if (!next) next = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *bytes, size_t length) {
    NEXT(ssize_t, "write", int, const void *, size_t);
    return fails_on("write", fd) ? -1 : next(fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return fails_on("pwrite", fd) ? -1 : next(fd, bytes, length, offset);
}

int fsync(int fd) {
    NEXT(int, "fsync", int);
    return fails_on("fsync", fd) ? -1 : next(fd);
}

int fdatasync(int fd) {
    NEXT(int, "fdatasync", int);
    return fails_on("fdatasync", fd) ? -1 : next(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t length, unsigned int flags) {
    NEXT(int, "sync_file_range", int, off64_t, off64_t, unsigned int);
    return fails_on("sync_file_range", fd) ? -1 : next(fd, offset, length, flags);
}

int ftruncate64(int fd, off64_t length) {
    NEXT(int, "ftruncate64", int, off64_t);
    return fails_on("ftruncate", fd) ? -1 : next(fd, length);
}

int rename(const char *from, const char *to) {
    NEXT(int, "rename", const char *, const char *);
    return fails("rename", to) ? -1 : next(from, to);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(int, "mkdir", const char *, mode_t);
    return fails("mkdir", path) ? -1 : next(path, mode);
}

int unlink(const char *path) {
    NEXT(int, "unlink", const char *);
    return fails("unlink", path) ? -1 : next(path);
}

int open64(const char *path, int flags, ...) {
    NEXT(int, "open64", const char *, int, ...);
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
        if (fails("create", path)) return -1;
    }
    return next(path, flags, mode);
}
