// Everything the library offers.
#pragma once

#include "sparse_engine/bitmask.hpp"
#include "sparse_engine/bsr.hpp"
#include "sparse_engine/buffer_pool.hpp"
#include "sparse_engine/conv.hpp"
#include "sparse_engine/cost_model.hpp"
#include "sparse_engine/csr.hpp"
#include "sparse_engine/groups.hpp"
#include "sparse_engine/linear.hpp"
#include "sparse_engine/mask.hpp"
#include "sparse_engine/matrix.hpp"
#include "sparse_engine/neighbours.hpp"
#include "sparse_engine/nm.hpp"
#include "sparse_engine/recurrent.hpp"
#include "sparse_engine/runtime.hpp"
#include "sparse_engine/types.hpp"
