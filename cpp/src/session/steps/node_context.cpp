#include "session/steps/node_context.hpp"

#include "base/tuning.hpp"

namespace sparse_engine {

ConstImages NodeContext::images_of(Index value) const {
  const std::vector<Index> sizes = shape(value), apart = strides(value);
  const Index height = sizes.size() == 4 ? sizes[2] : 1, width = sizes.back();
  return {nullptr, sizes[0], sizes[1], height, width, apart[0], apart[1], width, 1};
}

Images NodeContext::writable_images_of(Index value) const {
  const ConstImages x = images_of(value);
  return {nullptr, x.batch, x.channels, x.height, x.width, x.stride_n, x.stride_c, x.stride_h, x.stride_w};
}

int NodeContext::threads_for(Index work) const { return work < Tuning::session.serial_below ? 1 : threads; }

}  // namespace sparse_engine
