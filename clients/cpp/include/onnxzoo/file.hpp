// Reading a file with a limit on its size.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace onnxzoo {

/// What became of reading a file.
enum class ReadOutcome { done, missing, folder, unreadable, too_large };

struct FileBytes {
    ReadOutcome outcome = ReadOutcome::done;
    std::string reason;  ///< what the system says, if the file is unreadable
    std::vector<std::uint8_t> bytes;
};

/// Reads a file from its start: to its end, or `first` bytes if `first` is smaller than `limit`; never more than `limit`.
inline FileBytes read_file(const std::string& path, std::size_t limit, std::size_t first = SIZE_MAX) {
    FileBytes result;
    const auto refused = [&](ReadOutcome outcome) {
        result.reason = std::strerror(errno);
        result.outcome = outcome;
        result.bytes.clear();
        return result;
    };
    struct stat about {};
    if (::stat(path.c_str(), &about) != 0) {
        return refused(errno == ENOENT || errno == ENOTDIR ? ReadOutcome::missing : ReadOutcome::unreadable);
    }
    if ((about.st_mode & S_IFMT) == S_IFDIR) return refused(ReadOutcome::folder);
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
    if (!file) return refused(ReadOutcome::unreadable);
    std::size_t used = 0;
    const std::size_t wanted = std::min(first, limit);
    while (used < wanted) {
        // One byte more than the file is said to have shows its end without growing the vector again.
        const auto size = static_cast<std::size_t>(std::max<std::int64_t>(about.st_size, 0));
        const std::size_t room = std::max<std::size_t>(used < size ? size - used + 1 : 0, std::size_t{1} << 16U);
        const std::size_t part = std::min(room, wanted - used);
        result.bytes.resize(used + part);
        const std::size_t got = std::fread(result.bytes.data() + used, 1, part, file.get());
        used += got;
        if (std::ferror(file.get()) != 0) return refused(ReadOutcome::unreadable);
        if (got < part) break;
    }
    result.bytes.resize(used);
    if (first >= limit && used == limit && std::fgetc(file.get()) != EOF) return refused(ReadOutcome::too_large);
    return result;
}

}  // namespace onnxzoo
