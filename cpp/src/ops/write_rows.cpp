#include "ops/write_rows.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace sparse_engine {
namespace {

// A task is a table.
class WriteRowsPlan final : public Plan {
 public:
  WriteRowsPlan(const WrittenRows& s, int threads) : s_(s) {
    checked_mul(checked_mul(s.tables, std::max(s.rows, s.written), "elements"), s.width, "elements");
    cut(Strategy::write_rows, s.tables, threads, 0, 0);
  }

 private:
  void run_one(Index table, const Operands& operands, const float*, float*) const override {
    const Index at = table * s_.rows * s_.width;
    float* const y = operands.y + at;
    if (operands.y != operands.x) std::copy_n(operands.x + at, s_.rows * s_.width, y);
    const float* const numbers = operands.third + table / s_.heads * s_.numbers_apart;
    for (Index i = 0; i < s_.written; ++i)
      if (numbers[i] >= 0 && numbers[i] < static_cast<float>(s_.rows))
        std::copy_n(operands.second + (table * s_.written + i) * s_.width, s_.width,
                    y + static_cast<Index>(numbers[i]) * s_.width);
  }

  WrittenRows s_;
};

}  // namespace

std::shared_ptr<const Plan> plan_write_rows(const WrittenRows& shape, int threads) {
  check(shape.rows <= Index{1} << 24, "a table has ", shape.rows, " rows; at most 2²⁴ are supported");  // whole in a float
  check(shape.heads >= 1, "write_rows shares its numbers among ", shape.heads, " tables; it needs at least 1");
  return std::make_shared<WriteRowsPlan>(shape, threads);
}

}  // namespace sparse_engine
