// What the running engine looks like: its functions by name, its structures by trying them.
#include "plug.h"

#include <cstring>
#include <dlfcn.h>

namespace inhouse {

std::string find_engine(void *handle, Engine &engine) {
    struct Wanted {
        const char *name;
        void **to;
    };
#define WANT(name) {"ggml_" #name, reinterpret_cast<void **>(&engine.name)}
    const Wanted all[] = {
        WANT(init), WANT(free), WANT(tensor_overhead), WANT(graph_overhead), WANT(new_tensor_2d), WANT(new_tensor_3d),
        WANT(mul_mat), WANT(mul_mat_id), WANT(get_rows), WANT(set_name), WANT(nbytes), WANT(row_size), WANT(type_name), WANT(new_graph),
        WANT(build_forward_expand), WANT(graph_compute_with_ctx), WANT(quantize_chunk), WANT(barrier),
        WANT(threadpool_chunk_set), WANT(threadpool_chunk_add), WANT(backend_cpu_buffer_type), WANT(backend_buft_name),
        WANT(backend_buft_alloc_buffer), WANT(backend_buft_get_alignment), WANT(backend_buft_get_max_size),
        WANT(backend_buft_get_alloc_size), WANT(backend_buft_is_host), WANT(backend_buft_get_device),
        WANT(backend_buffer_get_type), WANT(backend_buffer_get_size), WANT(backend_buffer_free), WANT(backend_alloc_ctx_tensors_from_buft),
        WANT(backend_tensor_set),
    };
#undef WANT
    engine.flash_attn_ext = reinterpret_cast<decltype(engine.flash_attn_ext)>(dlsym(handle, "ggml_flash_attn_ext"));
    for (const Wanted &one : all)
        if (!(*one.to = dlsym(handle, one.name))) return std::string("the engine has no ") + one.name;
    return "";
}

std::string check_structures(const Engine &engine) {
    void *context = engine.init({1 << 20, nullptr, false});
    if (!context) return "the engine gives no context";
    const auto wrong = [&]() -> const char * {
        Tensor *a = engine.new_tensor_2d(context, Q8_0, 64, 3), *b = engine.new_tensor_2d(context, F32, 64, 5);
        if (!a || !b || a->type != Q8_0 || a->ne[0] != 64 || a->ne[1] != 3 || a->ne[2] != 1 || a->nb[0] != 34 || a->nb[1] != 68)
            return "a tensor's shape is not where it was";
        engine.set_name(a, "inhouse");
        if (std::strcmp(a->name, "inhouse") != 0 || a->extra || a->view_src || !a->data || a->data == b->data)
            return "a tensor's data is not where it was";
        const Tensor *product = engine.mul_mat(context, a, b);
        if (!product || product->src[0] != a || product->src[1] != b || product->src[2] || product->ne[0] != 3 || product->ne[1] != 5)
            return "an operation's sources are not where they were";
        return nullptr;
    }();
    engine.free(context);
    return wrong ? wrong : "";
}

}  // namespace inhouse
