// The types of value of a format's list, for tests that take them by name.
#pragma once

#include <vector>

#include "base/float_types.hpp"

namespace sparse_engine::reference {

template <class... Values>
std::vector<ValueType> value_types(TypeList<Values...>) {
  return {kValueType<Values>...};
}

}  // namespace sparse_engine::reference
