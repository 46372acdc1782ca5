#include "plug.h"

#include "attention.h"
#include "fresh.h"
#include "mapped.h"
#include "product.h"
#include "report.h"
#include "selftest.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include <sys/mman.h>

namespace inhouse {
namespace {

Engine ENGINE;
const Kernels *KERNELS;
std::vector<Packed *> PACKED;  // those that may be used
Attention *ATTENTION;          // nullptr: left to the engine
BufferType TYPE{};
size_t WHERE_TYPE;             // word of a buffer at which its type stands
int SLOT_ALIGNMENT, SLOT_ALLOC_SIZE, SLOT_DEVICE;
int PROBED = -1;
constexpr size_t PIECE = size_t{1} << 20;  // of a file: what is packed between two looks at its pages

std::function<std::vector<const Kind *>()> ANSWER;
std::once_flag SETTLED;
std::atomic<bool> PENDING{false};  // there is an ANSWER that nobody has asked for

Packed *packed_for(const Tensor *weights) {
    Plug::settle();
    for (Packed *one : PACKED)
        if (one->kind().type == weights->type && weights->ne[0] % one->kind().form.block() == 0) return one;
    return nullptr;
}

const char *type_name(BufferType *) { return "CPU_INHOUSE"; }
size_t type_alignment(BufferType *) { return 64; }

size_t type_alloc_size(BufferType *, const Tensor *tensor) {
    const Packed *packed = packed_for(tensor);
    return packed ? packed->size_of(tensor) : ENGINE.nbytes(tensor);
}

int init_tensor(Buffer *, Tensor *tensor) {
    tensor->extra = packed_for(tensor);
    return 0;
}

void set_tensor(Buffer *buffer, Tensor *tensor, const void *data, size_t offset, size_t size) {
    const auto *packed = static_cast<const Packed *>(tensor->extra);
    if (!packed || offset != 0 || size != ENGINE.nbytes(tensor)) {
        std::fprintf(stderr, "inhouse kernels: weights of '%s' come in pieces; set INHOUSE_KERNELS=off\n", tensor->name);
        std::abort();
    }
    const Kind &kind = packed->kind();
    const int64_t k = tensor->ne[0], columns = tensor->ne[1], panels = panels_of(columns), all = panels * tensor->ne[2] * tensor->ne[3];
    const size_t matrix = static_cast<size_t>(k / kind.form.block()) * kind.file_block * columns;
    const auto *file = static_cast<const uint8_t *>(data);
    const auto part = [&](int64_t first, int64_t last) {  // panels of all matrices one behind the other
        const auto begins = [&](int64_t p) { return file + p / panels * matrix + matrix / columns * (p % panels * PANEL); };
        const int64_t step = std::max<int64_t>(1, static_cast<int64_t>(PIECE / (matrix / columns * PANEL)));
        Mapped source(begins(first));
        for (int64_t p = first; p < last;) {
            const int64_t m = p / panels, until = std::min({last, (m + 1) * panels, p + step});
            pack(kind, file + m * matrix, columns, k, static_cast<uint8_t *>(tensor->data) + m * panels * kind.form.panel(k),
                 p - m * panels, until - m * panels);
            p = until;
            source.read_until(begins(p));
        }
    };
    auto *base = static_cast<uint8_t *>(buffer->base(buffer));
    fresh_memory_behind(base, base + ENGINE.backend_buffer_get_size(buffer), static_cast<uint8_t *>(tensor->data) + std::min(size, PIECE));
    static const int64_t cores = std::max(1u, std::thread::hardware_concurrency());  // a file is read to know it
    const int64_t threads = std::clamp<int64_t>(size >> 20, 1, cores);
    std::vector<std::thread> others;
    for (int64_t t = 1; t < threads; t++) others.emplace_back(part, all * t / threads, all * (t + 1) / threads);
    part(0, all / threads);
    for (std::thread &one : others) one.join();
    report().packed(kind.name, packed->size_of(tensor));
}

Buffer *type_alloc_buffer(BufferType *, size_t size) {
    Buffer *buffer = ENGINE.backend_buft_alloc_buffer(ENGINE.backend_cpu_buffer_type(), size);
    if (!buffer) return nullptr;
#ifdef MADV_HUGEPAGE
    // A decode reads all weights: larger pages save looking up addresses. Best effort.
    const auto base = reinterpret_cast<uintptr_t>(buffer->base(buffer)), page = (base + 4095) & ~uintptr_t{4095};
    if (size > (2 << 20)) madvise(reinterpret_cast<void *>(page), size - (page - base), MADV_HUGEPAGE);
#endif
    report().expect(size);
    reinterpret_cast<void **>(buffer)[WHERE_TYPE] = &TYPE;
    buffer->init_tensor = init_tensor;
    buffer->set_tensor = set_tensor;
    buffer->get_tensor = nullptr;
    return buffer;
}

class Ours final : public Extra {
  public:
    bool supports_op(void *, const Tensor *op) override {
        const Tensor *weights = op->src[0], *x = op->src[1];
        if (op->op == OP_GET_ROWS) return is_tokens(weights) && x->type == I32 && op->type == F32;
        if ((op->op != OP_MUL_MAT && op->op != OP_MUL_MAT_ID) || !is_ours(weights) || !packed_for(weights)) return false;
        if (op->op == OP_MUL_MAT ? weights->ne[2] * weights->ne[3] != 1 : weights->ne[3] != 1) return false;
        if (op->type != F32 || x->type != F32 || x->nb[0] != sizeof(float) || weights->view_src) return false;
        return !x->buffer || ENGINE.backend_buft_is_host(ENGINE.backend_buffer_get_type(x->buffer));
    }

    Traits *get_tensor_traits(const Tensor *op) override {
        Plug::settle();
        if (op->op == OP_FLASH_ATTENTION && ATTENTION) return ATTENTION->takes(op) ? ATTENTION : nullptr;
        if (op->op != OP_MUL_MAT && op->op != OP_MUL_MAT_ID && op->op != OP_GET_ROWS) return nullptr;
        return is_ours(op->src[0]) ? static_cast<Packed *>(op->src[0]->extra) : nullptr;
    }

  private:
    // The table of tokens is the output matrix of many models; other tables are large, and seldom looked into.
    static bool is_tokens(const Tensor *weights) {
        return is_ours(weights) && packed_for(weights) && !weights->view_src && std::strcmp(weights->name, "token_embd.weight") == 0;
    }
    static bool is_ours(const Tensor *weights) {
        return weights && weights->buffer && ENGINE.backend_buffer_get_type(weights->buffer) == &TYPE;
    }
};

Ours OURS;

template <int N>
size_t probe(BufferType *, const Tensor *) {
    PROBED = N;
    return size_t{1} << 40;
}

// Versions have 6 functions in a buffer type, or 8 (each way to allocate twice); which one an accessor calls
// is seen by calling it on a type whose functions all only tell their number.
std::string find_slots() {
    using Function = size_t (*)(BufferType *, const Tensor *);
    constexpr Function probes[] = {probe<0>, probe<1>, probe<2>, probe<3>, probe<4>, probe<5>, probe<6>, probe<7>};
    BufferType type{};
    for (int i = 0; i < 8; i++) type.slots[i] = reinterpret_cast<void *>(probes[i]);
    Tensor tensor{};
    tensor.type = F32;
    for (int d = 0; d < DIMS; d++) tensor.ne[d] = 1, tensor.nb[d] = 4;
    const auto seen = [](auto call) {
        PROBED = -1;
        call();
        return PROBED;
    };
    SLOT_ALIGNMENT = seen([&] { ENGINE.backend_buft_get_alignment(&type); });
    const int most = seen([&] { ENGINE.backend_buft_get_max_size(&type); });
    SLOT_ALLOC_SIZE = seen([&] { ENGINE.backend_buft_get_alloc_size(&type, &tensor); });
    const int host = seen([&] { ENGINE.backend_buft_is_host(&type); });
    const bool older = SLOT_ALIGNMENT == 2 && most == 3 && SLOT_ALLOC_SIZE == 4 && host == 5;
    const bool newer = SLOT_ALIGNMENT == 3 && most == 4 && SLOT_ALLOC_SIZE == 5 && host == 7;
    if (!older && !newer) return "a buffer type's functions are not where they were";
    SLOT_DEVICE = host + 1;
    BufferType *cpu = ENGINE.backend_cpu_buffer_type();
    if (ENGINE.backend_buft_get_device(cpu) != cpu->slots[SLOT_DEVICE]) return "a buffer type's device is not where it was";
    return "";
}

std::string find_type() {
    BufferType *cpu = ENGINE.backend_cpu_buffer_type();
    Buffer *buffer = ENGINE.backend_buft_alloc_buffer(cpu, 4096);
    if (!buffer) return "the engine gives no buffer";
    const auto *words = reinterpret_cast<void **>(buffer);
    for (WHERE_TYPE = 8; WHERE_TYPE < 13; WHERE_TYPE++)
        if (words[WHERE_TYPE] == cpu && words[WHERE_TYPE + 2] == reinterpret_cast<void *>(4096)) break;
    const bool found = WHERE_TYPE < 13 && ENGINE.backend_buffer_get_type(buffer) == cpu;
    ENGINE.backend_buffer_free(buffer);
    return found ? "" : "a buffer's type is not where it was";
}

}  // namespace

Plug::Plug(const Engine &engine, const Kernels &kernels) {
    ENGINE = engine;
    KERNELS = &kernels;
    int count;
    const Kind *all = kinds(count);
    PACKED.clear();
    static std::vector<Packed *> made;
    if (made.empty())
        for (int i = 0; i < count; i++) made.push_back(kernels.tiles(all[i].type) ? new Packed(ENGINE, kernels, all[i]) : nullptr);
    for (Packed *one : made)
        if (one) PACKED.push_back(one);
}

std::string Plug::prepare() {
    std::string wrong = check_structures(ENGINE);
    if (wrong.empty()) wrong = find_slots();
    if (wrong.empty()) wrong = find_type();
    if (!wrong.empty()) return wrong;
    TYPE.slots[0] = reinterpret_cast<void *>(type_name);
    TYPE.slots[1] = reinterpret_cast<void *>(type_alloc_buffer);
    TYPE.slots[SLOT_ALIGNMENT] = reinterpret_cast<void *>(type_alignment);
    TYPE.slots[SLOT_ALLOC_SIZE] = reinterpret_cast<void *>(type_alloc_size);
    TYPE.slots[SLOT_DEVICE] = ENGINE.backend_buft_get_device(ENGINE.backend_cpu_buffer_type());
    TYPE.slots[SLOT_DEVICE + 1] = static_cast<Extra *>(&OURS);
    void *context = ENGINE.init({1 << 20, nullptr, false});
    Tensor *a = ENGINE.new_tensor_3d(context, F32, 32, 2, 2), *b = ENGINE.new_tensor_3d(context, F32, 32, 1, 1);
    OP_MUL_MAT = ENGINE.mul_mat(context, ENGINE.new_tensor_2d(context, F32, 32, 2), ENGINE.new_tensor_2d(context, F32, 32, 2))->op;
    OP_MUL_MAT_ID = ENGINE.mul_mat_id(context, a, b, ENGINE.new_tensor_2d(context, I32, 1, 1))->op;
    OP_GET_ROWS = ENGINE.get_rows(context, ENGINE.new_tensor_2d(context, F32, 32, 2), ENGINE.new_tensor_2d(context, I32, 1, 1))->op;
    ENGINE.free(context);
    return OP_MUL_MAT == OP_MUL_MAT_ID || OP_GET_ROWS == OP_MUL_MAT || OP_GET_ROWS == OP_MUL_MAT_ID ? "the engine's operations cannot be told apart" : "";
}

std::vector<std::string> Plug::test(const std::vector<const Kind *> &kinds) { return self_test(ENGINE, &TYPE, kinds); }

std::string Plug::test_attention() {
    if (std::string wrong = use_attention(); !wrong.empty()) return wrong;
    return inhouse::test_attention(ENGINE, [ours = ATTENTION](bool on) { ATTENTION = on ? ours : nullptr; });
}

std::string Plug::use_attention() {
    static Attention *made = KERNELS->attention ? new Attention(ENGINE, *KERNELS->attention) : nullptr;
    const std::string wrong = made ? find_attention(ENGINE) : "there is none for this instruction set";
    ATTENTION = wrong.empty() ? made : nullptr;
    return wrong;
}

void Plug::await(std::function<std::vector<const Kind *>()> answer) {
    ANSWER = std::move(answer);
    PENDING.store(true, std::memory_order_release);
}

void Plug::settle() {
    if (!PENDING.load(std::memory_order_acquire)) return;
    std::call_once(SETTLED, [] {
        const std::vector<const Kind *> good = ANSWER();
        PACKED.erase(std::remove_if(PACKED.begin(), PACKED.end(),
                                    [&](Packed *one) { return std::find(good.begin(), good.end(), &one->kind()) == good.end(); }),
                     PACKED.end());
        PENDING.store(false, std::memory_order_release);
    });
}

void Plug::insert(std::vector<BufferType *> &list) { list.insert(list.begin(), &TYPE); }

}  // namespace inhouse
