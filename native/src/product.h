// The engine's operations with packed weights: MUL_MAT, MUL_MAT_ID and GET_ROWS.
#pragma once

#include "engine.h"
#include "form.h"

namespace inhouse {

// What lies in Tensor::extra of packed weights; one for each type.
class Packed final : public Traits {
  public:
    Packed(const Engine &engine, const Kernels &kernels, const Kind &kind)
        : engine_(engine), kernels_(kernels), kind_(kind), tiles_(kernels.tiles(kind.type)) {}

    const Kind &kind() const { return kind_; }
    size_t size_of(const Tensor *weights) const;
    bool work_size(int threads, const Tensor *op, size_t &size) override;
    bool compute_forward(Work *work, Tensor *op) override;

  private:
    void multiply(const Work &work, Tensor *op) const;
    void multiply_by_expert(const Work &work, Tensor *op) const;
    void look_up(const Work &work, Tensor *op) const;
    void span(const uint8_t *panel, const int8_t *rows, size_t stride, const RowForm &form, int64_t count, float *out,
              size_t out_stride, int columns, int64_t from, int64_t to) const;

    const Engine &engine_;
    const Kernels &kernels_;
    const Kind &kind_;
    const Tiles tiles_;
};

int64_t panels_of(int64_t columns);
// Which operations these are in the running engine; set once at attach.
extern int OP_MUL_MAT, OP_MUL_MAT_ID, OP_GET_ROWS;

}  // namespace inhouse
