/* A disk between a program and its kernel: it notes what is written to the files of one folder, and fails on demand.
 *
 * Loaded by LD_PRELOAD. DISK_FOLDER names the folder; DISK_RECORD, if it is set, the file that the notes go to. A note is
 * a header (see struct note) and its bytes, in the order in which things happened: one mutex is held meanwhile. Nothing
 * is really flushed, because only the notes are to survive; shared memory ("-shm") is not part of the disk.
 *
 * A program under test asks for trouble itself, through ctypes: disk_trouble(kind, after, count).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 4096, NAMES = 256 };
enum { NONE, WRITE_FAILS, FSYNC_FAILS, WRITES_ARE_SHORT, SHORT_AND_FULL, READ_FAILS, TRUNCATE_FAILS };

struct note {
    char kind; /* C reated, U nlinked, W ritten, T runcated, S ynced, D irectory synced */
    uint32_t file, length;
    uint64_t offset;
} __attribute__((packed));

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int file_of[FILES]; /* by descriptor; 0: none of ours, -1: the folder itself */
static char *names[NAMES]; /* by number of the file; NULL once it is unlinked */
static int last_file;
static int trouble, after, count, met;

#define REAL(name, ...) (((__typeof__(&name))real(#name))(__VA_ARGS__))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

/* Returns the name within our folder, "" for the folder itself, NULL for anything else. */
static const char *ours(const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    if (!length || strncmp(path, folder, length)) return NULL;
    if (!path[length]) return "";
    if (path[length] != '/' || strchr(path + length + 1, '/')) return NULL;
    const char *name = path + length + 1;
    size_t rest = strlen(name);
    return rest > 4 && !strcmp(name + rest - 4, "-shm") ? NULL : name;
}

static void note(char kind, int file, uint64_t offset, const void *bytes, size_t length) {
    static int record = -2;
    if (record == -2) {
        const char *path = getenv("DISK_RECORD");
        record = path ? REAL(open, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    }
    if (record < 0) return;
    struct note head = {kind, (uint32_t)file, (uint32_t)length, offset};
    char *whole = malloc(sizeof head + length);
    memcpy(whole, &head, sizeof head);
    if (length) memcpy(whole + sizeof head, bytes, length);
    if (REAL(write, record, whole, sizeof head + length) != (ssize_t)(sizeof head + length)) abort();
    free(whole);
}

/* Returns whether this call is to fail. */
static int fails(int kind) {
    if (trouble != kind || !count) return 0;
    if (after) {
        after--;
        return 0;
    }
    count--;
    met++;
    return 1;
}

void disk_trouble(int kind, int after_calls, int calls) {
    pthread_mutex_lock(&mutex);
    trouble = kind, after = after_calls, count = calls, met = 0;
    pthread_mutex_unlock(&mutex);
}

int disk_troubles(void) { return met; }

static int number_of(const char *name) {
    for (int file = 1; file <= last_file; file++)
        if (names[file] && !strcmp(names[file], name)) return file;
    if (last_file + 1 >= NAMES) abort();
    names[++last_file] = strdup(name);
    note('C', last_file, 0, name, strlen(name));
    return last_file;
}

static int open_it(const char *path, int flags, mode_t mode) {
    const char *name = ours(path);
    if (!name) return REAL(open64, path, flags, mode);
    pthread_mutex_lock(&mutex);
    int fd = REAL(open64, path, flags, mode);
    if (fd >= 0 && fd < FILES) file_of[fd] = *name ? number_of(name) : -1;
    if (fd >= 0 && fd < FILES && *name && (flags & O_TRUNC)) note('T', file_of[fd], 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_it(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_it(path, flags, mode);
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) file_of[fd] = 0;
    return REAL(close, fd);
}

static int file_at(int fd) { return fd >= 0 && fd < FILES ? file_of[fd] : 0; }

static ssize_t write_it(int fd, const void *bytes, size_t length, off64_t offset, int anywhere) {
    pthread_mutex_lock(&mutex);
    ssize_t done = -1;
    int file = file_at(fd), error = 0;
    if (fails(WRITE_FAILS))
        error = EIO;
    else if (trouble == SHORT_AND_FULL && met && count && fails(SHORT_AND_FULL))
        error = ENOSPC;
    else if (length > 1 && (fails(WRITES_ARE_SHORT) || fails(SHORT_AND_FULL)))
        length /= 2;
    if (!error) {
        done = anywhere ? REAL(write, fd, bytes, length) : REAL(pwrite64, fd, bytes, length, offset);
        error = errno;
        if (done > 0) {
            if (anywhere) offset = lseek64(fd, 0, SEEK_CUR) - done;
            note('W', file, (uint64_t)offset, bytes, (size_t)done);
        }
    }
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    return file_at(fd) > 0 ? write_it(fd, bytes, length, 0, 1) : REAL(write, fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    return file_at(fd) > 0 ? write_it(fd, bytes, length, offset, 0) : REAL(pwrite64, fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset) {
    if (file_at(fd) > 0) {
        pthread_mutex_lock(&mutex);
        int failing = fails(READ_FAILS);
        pthread_mutex_unlock(&mutex);
        if (failing) {
            errno = EIO;
            return -1;
        }
    }
    return REAL(pread64, fd, bytes, length, offset);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) { return pread64(fd, bytes, length, offset); }

int ftruncate64(int fd, off64_t length) {
    if (file_at(fd) <= 0) return REAL(ftruncate64, fd, length);
    pthread_mutex_lock(&mutex);
    int failing = fails(TRUNCATE_FAILS);
    int done = failing ? -1 : REAL(ftruncate64, fd, length);
    int error = failing ? EIO : errno;
    if (!done) note('T', file_at(fd), (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fsync(int fd) {
    int file = file_at(fd);
    if (!file) return REAL(fsync, fd);
    pthread_mutex_lock(&mutex);
    int failing = file > 0 && fails(FSYNC_FAILS);
    if (!failing) note(file > 0 ? 'S' : 'D', file, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    errno = failing ? EIO : 0;
    return failing ? -1 : 0;
}

int fdatasync(int fd) { return file_at(fd) ? fsync(fd) : REAL(fdatasync, fd); }

int unlink(const char *path) {
    const char *name = ours(path);
    if (!name) return REAL(unlink, path);
    pthread_mutex_lock(&mutex);
    int done = REAL(unlink, path), error = errno;
    for (int file = 1; !done && file <= last_file; file++)
        if (names[file] && !strcmp(names[file], name)) {
            note('U', file, 0, name, strlen(name));
            names[file] = NULL;
        }
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}

/* None of these are expected in the folder; a test that relied on them would prove nothing. */
int rename(const char *from, const char *to) {
    if (ours(from) || ours(to)) abort();
    return REAL(rename, from, to);
}
