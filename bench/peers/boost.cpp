// Boost.Interprocess's locks. Reads a number of repetitions, 8 bytes, from standard input, and answers
// with the nanoseconds they took, until its input ends.
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <sys/mman.h>

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

int main(int, char **arguments) {
    void *memory =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || !arguments[1]) {
        return 2;
    }
    volatile std::uint64_t *value = new (static_cast<char *>(memory) + 1024) std::uint64_t(0);
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
