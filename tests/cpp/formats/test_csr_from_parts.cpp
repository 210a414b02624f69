#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reference.hpp"
#include "sparse_engine/csr.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

// 3 × 5 with a row of two, an empty one and a row of three.
Parts good() { return {{0, 2, 2, 5}, {1, 4, 0, 2, 3}, {1, 2, 3, 4, 5}, 3, 5}; }

TEST(CsrFromParts, SortsTheColumnsOfARow) {
  const Csr csr = Parts{{0, 3, 5}, {4, 0, 2, 3, 1}, {1, 2, 3, 4, 5}, 2, 5}.csr();
  EXPECT_EQ(csr.column_indices(), (std::vector<std::int64_t>{0, 2, 4, 1, 3}));
  EXPECT_EQ(dense(csr), (std::vector<float>{2, 0, 3, 0, 1, 0, 5, 0, 4, 0}));
}

TEST(CsrFromParts, DoesNotReadTheCallersArraysAgain) {
  Parts parts = good();
  const Csr csr = parts.csr();
  const std::vector<float> before = dense(csr);
  std::fill(parts.indptr.begin(), parts.indptr.end(), kMax);
  std::fill(parts.indices.begin(), parts.indices.end(), kMin);
  std::fill(parts.values.begin(), parts.values.end(), kNaN);
  EXPECT_EQ(dense(csr), before);
  EXPECT_EQ(multiplied(csr, {1, 1, 1, 1, 1}, 1), (std::vector<float>{3, 0, 12}));
}

TEST(CsrFromParts, RefusesAnIndexOutsideTheColumns) {
  const std::int64_t wraps = std::int64_t{1} << 32;  // 0 when cut to 32 bits
  for (const std::int64_t bad :
       {std::int64_t{-1}, std::int64_t{5}, std::int64_t{65536}, wraps, wraps + 1, -wraps, kMax, kMin}) {
    for (const std::size_t at : {0, 1, 4}) {
      Parts parts = good();
      parts.indices[at] = bad;
      EXPECT_REFUSED(parts.csr(), "indices[" + std::to_string(at) + "] = " + std::to_string(bad) + " is outside [0, 5)");
    }
  }
}

TEST(CsrFromParts, RefusesAnIndexInAMatrixWithoutColumns) {
  EXPECT_REFUSED((Parts{{0, 1}, {0}, {1}, 1, 0}.csr()), "indices[0] = 0 is outside [0, 0)");
}

TEST(CsrFromParts, RefusesAnIndptrThatDoesNotBeginAtZero) {
  for (const std::int64_t bad : {std::int64_t{1}, std::int64_t{-1}, kMax, kMin}) {
    Parts parts = good();
    parts.indptr[0] = bad;
    EXPECT_REFUSED(parts.csr(), "indptr[0] = " + std::to_string(bad));
  }
}

TEST(CsrFromParts, RefusesAnIndptrThatDecreases) {
  Parts parts = good();
  parts.indptr = {0, 3, 2, 5};
  EXPECT_REFUSED(parts.csr(), "indptr[2] = 2 is less than indptr[1] = 3");
  for (const std::int64_t bad : {std::int64_t{-1}, kMax, kMin, std::int64_t{6}}) {
    parts.indptr = {0, bad, 2, 5};
    EXPECT_REFUSED(parts.csr(), "indptr");
  }
}

TEST(CsrFromParts, RefusesAnIndptrThatDoesNotEndAtTheNumberOfValues) {
  for (const std::int64_t bad : {std::int64_t{4}, std::int64_t{6}, kMax}) {
    Parts parts = good();
    parts.indptr[3] = bad;
    EXPECT_REFUSED(parts.csr(), "indptr[3] = " + std::to_string(bad) + " but there are 5 values");
  }
}

TEST(CsrFromParts, RefusesArraysOfTheWrongLength) {
  Parts parts = good();
  parts.indptr = {0, 2, 5};
  EXPECT_REFUSED(parts.csr(), "indptr has 3 entries");
  parts.indptr = {0, 2, 2, 5, 5};
  EXPECT_REFUSED(parts.csr(), "indptr has 5 entries");
  parts.indptr = {};
  EXPECT_REFUSED(parts.csr(), "indptr has 0 entries");
  EXPECT_REFUSED((Parts{{}, {}, {}, 0, 0}.csr()), "indptr has 0 entries");
  parts = good();
  parts.indices.pop_back();
  EXPECT_REFUSED(parts.csr(), "indices has 4 entries, values has 5");
  parts = good();
  parts.values.pop_back();
  EXPECT_REFUSED(parts.csr(), "indices has 5 entries, values has 4");
}

TEST(CsrFromParts, RefusesAColumnThatOccursTwiceInARow) {
  Parts parts = good();
  parts.indices = {1, 1, 0, 2, 3};
  EXPECT_REFUSED(parts.csr(), "indices: column 1 occurs twice in row 0");
  parts.indices = {1, 4, 3, 0, 3};  // unsorted too
  EXPECT_REFUSED(parts.csr(), "indices: column 3 occurs twice in row 2");
  parts.indices = {1, 4, 1, 2, 4};  // the same column in different rows is fine
  EXPECT_NO_THROW(parts.csr());
}

TEST(CsrFromParts, RefusesAShapeThatIsNegativeOrTooLarge) {
  struct Shape {
    Index rows, cols;
  };
  const auto expect_refused = [](const Shape& s, const std::string& part) {
    EXPECT_REFUSED(Csr::from_parts(std::vector<std::int64_t>{0}, {}, {}, s.rows, s.cols), part);
    EXPECT_REFUSED(Csr::from_dense(nullptr, s.rows, s.cols), part);
  };
  for (const Shape& s : {Shape{-1, 5}, Shape{5, -1}, Shape{-1, -1}, Shape{kMin, 1}, Shape{1, kMin}, Shape{kMin, kMin}})
    expect_refused(s, "negative");
  const Index most = (Index{1} << 32) - 1;
  for (const Shape& s : {Shape{0, most + 1}, Shape{0, kMax}, Shape{1, most + 1}, Shape{kMax, kMax}})
    expect_refused(s, "columns");
  for (const Shape& s : {Shape{kMax, 2}, Shape{kMax, most}, Shape{kMax / most + 1, most}, Shape{kMax / 4 + 1, 1}})
    expect_refused(s, "shape");
}

TEST(CsrFromParts, RefusesMoreRowsThanCanBeCounted) {
  for (const Index rows : {kMax, kMax - 1}) {
    const std::string message = refusal([&] { Csr::from_parts(std::vector<std::int64_t>{0}, {}, {}, rows, 0); });
    EXPECT_TRUE(mentions(message, "shape") || mentions(message, "indptr")) << "said: " << message;
  }
}

// What from_parts accepts, written down a second time; nothing when the arrays must be refused.
std::optional<std::map<std::pair<Index, Index>, float>> accepted(const Parts& p) {
  if (p.rows < 0 || p.cols < 0 || p.indptr.size() != static_cast<std::size_t>(p.rows) + 1) return {};
  if (p.indices.size() != p.values.size() || p.indptr.front() != 0) return {};
  if (p.indptr.back() != static_cast<std::int64_t>(p.values.size())) return {};
  if (!std::is_sorted(p.indptr.begin(), p.indptr.end())) return {};
  std::map<std::pair<Index, Index>, float> entries;
  for (Index row = 0; row < p.rows; ++row)
    for (Index i = p.indptr[row]; i < p.indptr[row + 1]; ++i)
      if (p.indices[i] < 0 || p.indices[i] >= p.cols || !entries.insert({{row, p.indices[i]}, p.values[i]}).second) return {};
  return entries;
}

TEST(CsrFromParts, TakesTheGoodAndRefusesTheBadAmongPartsDamagedAtRandom) {
  Random random(2);
  int taken = 0, refused = 0;
  for (int round = 0; round < (kSlow ? 2000 : 20000); ++round) {
    Parts parts = parts_of(integer_weights(random.between(0, 5), random.between(0, 20), 0.3, round));
    const std::vector<std::int64_t> hostile = {0, 1, 2, 7, parts.cols, parts.cols - 1, -1, kMax, kMin, std::int64_t{1} << 32};
    for (Index damage = random.between(0, 2); damage > 0; --damage) {
      switch (random.between(0, 6)) {
        case 0: parts.indptr[random.between(0, parts.rows)] = random.pick(hostile); break;
        case 1: parts.indptr.push_back(random.pick(hostile)); break;
        case 2: parts.values.push_back(1); break;
        case 3: parts.cols = random.between(0, 20); break;
        default:
          if (parts.indices.empty()) break;
          parts.indices[random.between(0, static_cast<Index>(parts.indices.size()) - 1)] =
              random.one_in(0.5) ? random.pick(hostile) : random.between(0, 19);
      }
      if (parts.indptr.size() != static_cast<std::size_t>(parts.rows) + 1) break;
    }
    const auto entries = accepted(parts);
    if (!entries) {
      EXPECT_THROW(parts.csr(), std::invalid_argument);
      ++refused;
      continue;
    }
    ++taken;
    const Csr csr = parts.csr();
    std::vector<float> expected(csr.rows() * csr.cols());
    for (const auto& [at, value] : *entries) expected[at.first * csr.cols() + at.second] = value;
    EXPECT_EQ(dense(csr), expected);
  }
  EXPECT_GT(taken, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace sparse_engine
