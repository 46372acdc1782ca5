// What we use of llama.cpp's ggml, declared from its published interface; nothing of it is linked.
// Every function is looked up by name when we attach, and every structure is checked against the engine
// that is running before anything of ours is registered (see probe.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace inhouse {

enum Type : int {
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q2_K = 10, Q3_K = 11, Q4_K = 12,
    Q5_K = 13, Q6_K = 14, IQ4_NL = 20, IQ4_XS = 23, I32 = 26, BF16 = 30, MXFP4 = 39,
};

struct Tensor;
struct Buffer;
struct BufferType;

constexpr int DIMS = 4, SOURCES = 10, NAME = 64, PARAMS = 16;

// ggml.h: struct ggml_tensor
struct Tensor {
    int type;
    Buffer *buffer;
    int64_t ne[DIMS];
    size_t nb[DIMS];
    int op;
    int32_t op_params[PARAMS];
    int32_t flags;
    Tensor *src[SOURCES];
    Tensor *view_src;
    size_t view_offs;
    void *data;
    char name[NAME];
    void *extra;
    char padding[8];
};

// ggml-cpu-impl.h: struct ggml_compute_params
struct Work {
    int ith, nth;
    size_t size;
    void *data;
    void *pool;
    bool reference;
};

// ggml-backend-impl.h: struct ggml_backend_buffer, as far as all versions agree
struct Buffer {
    void (*free)(Buffer *);
    void *(*base)(Buffer *);
    int (*init_tensor)(Buffer *, Tensor *);
    void (*memset_tensor)(Buffer *, Tensor *, uint8_t, size_t, size_t);
    void (*set_tensor)(Buffer *, Tensor *, const void *, size_t, size_t);
    void (*get_tensor)(Buffer *, const Tensor *, void *, size_t, size_t);
};

// ggml-backend-impl.h: struct ggml_backend_buffer_type; versions differ in how many functions there are,
// so they are written by number (see probe.cpp).
struct BufferType {
    void *slots[16];
};

// ggml-cpu/traits.h: the virtual functions in the order of the engine's own classes
struct Traits {
    virtual ~Traits() = default;
    virtual bool work_size(int threads, const Tensor *op, size_t &size) = 0;
    virtual bool compute_forward(Work *work, Tensor *op) = 0;
};

struct Extra {
    virtual ~Extra() = default;
    virtual bool supports_op(void *device, const Tensor *op) = 0;
    virtual Traits *get_tensor_traits(const Tensor *op) = 0;
};

struct InitParams {
    size_t size;
    void *memory;
    bool no_alloc;
};

// The engine's functions, by their names without "ggml_".
struct Engine {
    void *(*init)(InitParams);
    void (*free)(void *context);
    size_t (*tensor_overhead)();
    size_t (*graph_overhead)();
    Tensor *(*new_tensor_2d)(void *context, int type, int64_t, int64_t);
    Tensor *(*new_tensor_3d)(void *context, int type, int64_t, int64_t, int64_t);
    Tensor *(*mul_mat)(void *context, Tensor *, Tensor *);
    Tensor *(*mul_mat_id)(void *context, Tensor *, Tensor *, Tensor *);
    Tensor *(*get_rows)(void *context, Tensor *, Tensor *);
    Tensor *(*flash_attn_ext)(void *context, Tensor *, Tensor *, Tensor *, Tensor *, float, float, float);  // nullptr: none
    Tensor *(*set_name)(Tensor *, const char *);
    size_t (*nbytes)(const Tensor *);
    size_t (*row_size)(int type, int64_t);
    const char *(*type_name)(int type);
    void *(*new_graph)(void *context);
    void (*build_forward_expand)(void *graph, Tensor *);
    int (*graph_compute_with_ctx)(void *context, void *graph, int threads);
    size_t (*quantize_chunk)(int type, const float *, void *, int64_t, int64_t, int64_t, const float *);
    void (*barrier)(void *pool);
    void (*threadpool_chunk_set)(void *pool, int value);
    int (*threadpool_chunk_add)(void *pool, int value);
    BufferType *(*backend_cpu_buffer_type)();
    const char *(*backend_buft_name)(BufferType *);
    Buffer *(*backend_buft_alloc_buffer)(BufferType *, size_t);
    size_t (*backend_buft_get_alignment)(BufferType *);
    size_t (*backend_buft_get_max_size)(BufferType *);
    size_t (*backend_buft_get_alloc_size)(BufferType *, const Tensor *);
    bool (*backend_buft_is_host)(BufferType *);
    void *(*backend_buft_get_device)(BufferType *);
    BufferType *(*backend_buffer_get_type)(Buffer *);
    size_t (*backend_buffer_get_size)(Buffer *);
    void (*backend_buffer_free)(Buffer *);
    Buffer *(*backend_alloc_ctx_tensors_from_buft)(void *context, BufferType *);
    void (*backend_tensor_set)(Tensor *, const void *, size_t, size_t);
};

}  // namespace inhouse
