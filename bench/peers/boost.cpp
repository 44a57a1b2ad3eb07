// Boost.Interprocess's locks. Reads a number of repetitions, 8 bytes, from standard input, and answers
// with the nanoseconds they took, until its input ends. Several that are started with "count", a file
// and nanoseconds to spend under the lock count in the same place, once "make" has made it.
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace ipc = boost::interprocess;

template <typename Work>
static int serve(Work work) {
    std::uint64_t repeats;
    while (std::fread(&repeats, sizeof repeats, 1, stdin) == 1) {
        const auto start = std::chrono::steady_clock::now();
        for (std::uint64_t done = 0; done < repeats; ++done) {
            work();
        }
        const std::uint64_t took = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                       std::chrono::steady_clock::now() - start)
                                       .count();
        if (std::fwrite(&took, sizeof took, 1, stdout) != 1 || std::fflush(stdout) != 0) {
            return 1;
        }
    }
    return 0;
}

static void spend(std::chrono::nanoseconds time) {
    if (time.count() == 0) {
        return;
    }
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < time) {
        __builtin_ia32_pause();
    }
}

static void *map(const char *path) {
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC;
    const int file = path ? open(path, flags, 0600) : memfd_create("boost-peer", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, 4096) != 0) {
        return MAP_FAILED;
    }
    return mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
}

int main(int count, char **arguments) {
    void *memory = map(count > 2 ? arguments[2] : nullptr);
    if (memory == MAP_FAILED || count < 2) {
        return 2;
    }
    volatile std::uint64_t *value =
        reinterpret_cast<std::uint64_t *>(static_cast<char *>(memory) + 1024);
    if (!std::strcmp(arguments[1], "make")) {
        new (memory) ipc::interprocess_mutex;
        return 0;
    }
    if (!std::strcmp(arguments[1], "count")) {
        auto *mutex = static_cast<ipc::interprocess_mutex *>(memory);
        const std::chrono::nanoseconds pause(count > 3 ? std::atoll(arguments[3]) : 0);
        return serve([=] {
            mutex->lock();
            *value = *value + 1;
            spend(pause);
            mutex->unlock();
        });
    }
    if (!std::strcmp(arguments[1], "mutex")) {
        auto *mutex = new (memory) ipc::interprocess_mutex;
        return serve([=] {
            mutex->lock();
            *value = *value + 1;
            mutex->unlock();
        });
    }
    auto *mutex = new (memory) ipc::interprocess_sharable_mutex;
    if (!std::strcmp(arguments[1], "read")) {
        return serve([=] {
            mutex->lock_sharable();
            (void)*value;
            mutex->unlock_sharable();
        });
    }
    return serve([=] {
        mutex->lock();
        *value = *value + 1;
        mutex->unlock();
    });
}
