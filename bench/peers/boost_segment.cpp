// Boost.Interprocess's managed segments, in a file at a path. Reads a number of repetitions, 8 bytes, from
// standard input, and answers with the nanoseconds they took, until its input ends. Keys and names are those
// of src/heap/keys.rs.
#include <boost/container_hash/hash.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/indexes/iset_index.hpp>
#include <boost/interprocess/indexes/iunordered_set_index.hpp>
#include <boost/interprocess/managed_mapped_file.hpp>
#include <boost/unordered_map.hpp>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace ipc = boost::interprocess;
using u64 = std::uint64_t;

template <template <class> class Index>
using SegmentWith = ipc::basic_managed_mapped_file<char, ipc::rbtree_best_fit<ipc::mutex_family>, Index>;
using Segment = SegmentWith<ipc::iset_index>;
using Manager = Segment::segment_manager;

template <typename T>
using Allocator = ipc::allocator<T, Manager>;
using Words = boost::unordered_map<u64, u64, boost::hash<u64>, std::equal_to<u64>,
                                   Allocator<std::pair<const u64, u64>>>;
using Text = ipc::basic_string<char, std::char_traits<char>, Allocator<char>>;

struct TextHash {
    using is_transparent = void;
    template <typename T>
    std::size_t operator()(const T &text) const {
        return std::hash<std::string_view>()(std::string_view(text.data(), text.size()));
    }
};

struct TextEqual {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A &a, const B &b) const {
        return std::string_view(a.data(), a.size()) == std::string_view(b.data(), b.size());
    }
};

using Texts =
    boost::unordered_map<Text, u64, TextHash, TextEqual, Allocator<std::pair<const Text, u64>>>;

class Random {
    u64 state;

  public:
    explicit Random(u64 seed) : state(seed | 1) {}
    u64 next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
};

static u64 mixed(u64 index) {
    u64 x = index + 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static u64 value_of(u64 index, u64 count) { return mixed((21 * index + 1) % count); }
static std::string name_of(u64 index) { return "object/name/" + std::to_string(index); }

class Stopwatch {
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  public:
    u64 nanoseconds() const {
        const auto took = std::chrono::steady_clock::now() - start;
        return std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
    }
};

// Answers each request with the time that `work` returns.
template <typename Work>
static int serve(Work work) {
    u64 repeats;
    while (std::fread(&repeats, sizeof repeats, 1, stdin) == 1) {
        const u64 took = work(repeats);
        if (std::fwrite(&took, sizeof took, 1, stdout) != 1 || std::fflush(stdout) != 0) {
            return 1;
        }
    }
    return 0;
}

// Times look-ups of random ones of `count` keys, which are prepared before. Each must return its value.
template <typename Key, typename Get>
static int serve_look_ups(u64 count, Key key, Get get) {
    u64 seed = 0;
    return serve([&](u64 repeats) {
        Random random(++seed << 20);
        std::vector<decltype(key(0))> keys;
        u64 expected = 0;
        for (u64 i = 0; i < repeats; ++i) {
            const u64 index = random.next() % count;
            keys.push_back(key(index));
            expected += value_of(index, count);
        }
        u64 sum = 0;
        const Stopwatch watch;
        for (const auto &each : keys) {
            sum += get(each);
        }
        const u64 took = watch.nanoseconds();
        if (sum != expected) {
            std::abort();
        }
        return took;
    });
}

// Slots for blocks of so many words.
template <std::size_t WORDS>
class Slots {
    static constexpr std::size_t COUNT = 1000;
    std::array<void *, COUNT> blocks{};
    u64 value[WORDS] = {};

  public:
    void toggle(Segment &segment, Random &random) {
        const std::size_t slot = random.next() % COUNT;
        if (blocks[slot]) {
            segment.deallocate(blocks[slot]);
            blocks[slot] = nullptr;
        } else {
            value[0] = slot;
            blocks[slot] = segment.allocate(sizeof value);
            std::memcpy(blocks[slot], value, sizeof value);
        }
    }
};

static int allocate(const char *path) {
    Segment segment(ipc::open_or_create, path, 64 << 20);
    auto all = std::make_unique<std::tuple<Slots<2>, Slots<4>, Slots<6>, Slots<8>, Slots<12>, Slots<16>,
                                           Slots<24>, Slots<32>, Slots<48>, Slots<64>>>();
    Random random(1);
    return serve([&](u64 repeats) {
        const Stopwatch watch;
        for (u64 i = 0; i < repeats; ++i) {
            std::apply([&](auto &...slots) { (slots.toggle(segment, random), ...); }, *all);
        }
        return watch.nanoseconds();
    });
}

template <typename Named>
static int find(const char *path, u64 count) {
    Named segment(ipc::open_or_create, path, (32 << 20) + 256 * count);
    for (u64 i = 0; i < count; ++i) {
        segment.template construct<u64>(name_of(i).c_str())(value_of(i, count));
    }
    return serve_look_ups(count, name_of, [&](const std::string &name) {
        const auto found = segment.template find<u64>(name.c_str());
        return found.first ? *found.first : 0;
    });
}

static int construct(const char *path, u64 count) {
    Segment segment(ipc::open_or_create, path, (32 << 20) + 256 * count);
    std::vector<std::string> names;
    for (u64 i = 0; i < count; ++i) {
        segment.construct<u64>(name_of(i).c_str())(i);
        names.push_back(name_of(count + i));
    }
    u64 next = 0;
    return serve([&](u64 repeats) {
        const Stopwatch watch;
        for (u64 i = 0; i < repeats; ++i) {
            const char *name = names[next++ % count].c_str();
            segment.construct<u64>(name)(i);
            segment.destroy<u64>(name);
        }
        return watch.nanoseconds();
    });
}

static Words &words_in(Segment &segment, u64 count) {
    Words &words = *segment.construct<Words>("words")(segment.get_segment_manager());
    for (u64 i = 0; i < count; ++i) {
        words.emplace(mixed(i), value_of(i, count));
    }
    return words;
}

static Texts &texts_in(Segment &segment, const std::vector<std::string> &names) {
    Manager *manager = segment.get_segment_manager();
    Texts &texts = *segment.construct<Texts>("texts")(manager);
    for (u64 i = 0; i < names.size(); ++i) {
        texts.emplace(Text(names[i].data(), names[i].size(), manager), value_of(i, names.size()));
    }
    return texts;
}

static std::vector<std::string> names_of(u64 count) {
    std::vector<std::string> names;
    for (u64 i = 0; i < count; ++i) {
        names.push_back(name_of(i));
    }
    return names;
}

// Times builds in new files.
template <typename Build>
static int serve_builds(const char *path, u64 len, Build build) {
    return serve([=](u64 repeats) {
        u64 took = 0;
        for (u64 i = 0; i < repeats; ++i) {
            std::remove(path);
            Segment segment(ipc::create_only, path, len);
            const Stopwatch watch;
            build(segment);
            took += watch.nanoseconds();
        }
        return took;
    });
}

static int reopen(const char *path, u64 count) {
    {
        Segment segment(ipc::create_only, path, (32 << 20) + 96 * count);
        words_in(segment, count);
    }
    u64 next = 0;
    return serve([&](u64 repeats) {
        u64 took = 0;
        for (u64 i = 0; i < repeats; ++i) {
            next = (next + 7919) % count;
            const Stopwatch watch;
            Segment segment(ipc::open_only, path);
            const u64 found = segment.find<Words>("words").first->at(mixed(next));
            took += watch.nanoseconds();
            if (found != value_of(next, count)) {
                std::abort();
            }
        }
        return took;
    });
}

int main(int number, char **arguments) {
    if (number < 4) {
        return 2;
    }
    const std::string what = arguments[1];
    const char *path = arguments[2];
    const u64 count = std::strtoull(arguments[3], nullptr, 10);
    const u64 len = (32 << 20) + 160 * count;
    if (what == "allocate") {
        return allocate(path);
    }
    if (what == "find") {
        return find<Segment>(path, count);
    }
    if (what == "find by hash") {
        return find<SegmentWith<ipc::iunordered_set_index>>(path, count);
    }
    if (what == "construct") {
        return construct(path, count);
    }
    if (what == "build words") {
        return serve_builds(path, len, [=](Segment &segment) { words_in(segment, count); });
    }
    if (what == "look up words") {
        Segment segment(ipc::create_only, path, len);
        const Words &words = words_in(segment, count);
        return serve_look_ups(count, mixed, [&](u64 key) {
            const auto found = words.find(key);
            return found == words.end() ? 0 : found->second;
        });
    }
    if (what == "build texts") {
        const auto names = names_of(count);
        return serve_builds(path, len, [&](Segment &segment) { texts_in(segment, names); });
    }
    if (what == "look up texts") {
        Segment segment(ipc::create_only, path, len);
        const Texts &texts = texts_in(segment, names_of(count));
        return serve_look_ups(count, name_of, [&](std::string_view name) {
            const auto found = texts.find(name);
            return found == texts.end() ? 0 : found->second;
        });
    }
    if (what == "reopen") {
        return reopen(path, count);
    }
    return 2;
}
