// One time step of a recurrent cell, once its matrix products are done: gates to the next state.
//
// Method   A vector of hidden units at a time; of a last one that is not full some lanes.
// Cost     LSTM: five smooth functions a unit, GRU three; what they cost is in activation.hpp.
// Error    LSTM: c and h within a few units in the last place of the exact functions of the gates as they are given, relative
//          to |c| + 1 and to 1; GRU alike. Tests hold them to 1e-6.
// Source   Hochreiter and Schmidhuber, 1997; Cho et al., 2014, in the form cuDNN and torch give it.
#pragma once

#include "kernels/elementwise/activation.hpp"
#include "kernels/simd/lanes.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Gates in torch's order: input, forget, cell, output.
void lstm_cell(const LstmCellArgs& args) {
  const LstmCellArgs a = args;
  for (int64_t i = 0; i < a.units; i += kLanes) {
    const int64_t count = a.units - i;
    const float* gate = a.gates + i;
    const Vec input = sigmoid(load_first(gate, count)), forget = sigmoid(load_first(gate + a.hidden, count));
    const Vec cell = tanh(load_first(gate + 2 * a.hidden, count)), output = sigmoid(load_first(gate + 3 * a.hidden, count));
    const Vec c = fma(forget, load_first(a.c + i, count), mul(input, cell));
    const Vec h = mul(output, tanh(c));
    store_first(a.c + i, c, count);
    store_first(a.h + i, h, count);
    store_first(a.y + i, h, count);
  }
}

// Gates in torch's order: reset, update, new; the recurrent product's are apart, because reset scales its part of the last.
void gru_cell(const GruCellArgs& args) {
  const GruCellArgs a = args;
  for (int64_t i = 0; i < a.units; i += kLanes) {
    const int64_t count = a.units - i;
    const float *of_x = a.gates + i, *of_h = a.recurrent + i;
    const Vec reset = sigmoid(add(load_first(of_x, count), load_first(of_h, count)));
    const Vec update = sigmoid(add(load_first(of_x + a.hidden, count), load_first(of_h + a.hidden, count)));
    const Vec fresh = tanh(fma(reset, load_first(of_h + 2 * a.hidden, count), load_first(of_x + 2 * a.hidden, count)));
    const Vec before = load_first(a.h + i, count);
    const Vec h = fma(update, sub(before, fresh), fresh);
    store_first(a.h + i, h, count);
    store_first(a.y + i, h, count);
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
