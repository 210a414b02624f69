#include "bind.hpp"

PYBIND11_MODULE(_core, m) {
  using namespace sparse_engine::bindings;
  m.doc() = "Native part of sparse_engine. Private: use the functions of the package.";
  bind_runtime(m);
  bind_buffers(m);
  bind_matrix(m);
  bind_bsr(m);
  bind_csr(m);
  bind_bitmask(m);
  bind_nm(m);
  bind_cost_model(m);
  bind_linear(m);
  bind_conv(m);
  bind_conv3d(m);
  bind_interleave(m);
  bind_recurrent(m);
  bind_mask(m);
  bind_groups(m);
  bind_program(m);
  bind_session(m);
}
