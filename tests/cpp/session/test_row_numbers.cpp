#include "session/row_numbers.hpp"

#include "small_programs.hpp"
#include "sparse_engine/session.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// ids (N, 2) → (N, 2, 1) → rows of a table of four, and ids + other → rows of a table of three.
ProgramParts two_tables() {
  ProgramParts p;
  p.values = {{"ids", {kBatch, {2}}},   {"other", {kBatch, {2}}}, {"apart", {kBatch, {2}, {1}}},
              {"small", {{4}, {2}}, 0}, {"large", {{3}, {2}}, 1}, {"a", {kBatch, {2}, {1}, {2}}},
              {"sum", {kBatch, {2}}},   {"b", {kBatch, {2}, {2}}}};
  p.constants = {integers(8, 51), integers(6, 52)};
  p.nodes = {{.operation = Operation::reshape, .name = "apart", .inputs = {0}, .output = 2, .numbers = {}},
             {.operation = Operation::gather, .name = "a", .inputs = {2, 3}, .output = 5, .numbers = {}},
             {.operation = Operation::add, .name = "sum", .inputs = {0, 1}, .output = 6, .numbers = {}},
             {.operation = Operation::gather, .name = "b", .inputs = {6, 4}, .output = 7, .numbers = {}}};
  p.inputs = {0, 1};
  p.outputs = {5, 7};
  return p;
}

TEST(RowNumbers, AreInputsThatComeToATableUnchanged) {
  const Program program(two_tables());
  const auto found = row_numbers_of(program);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].input, 0u);
  EXPECT_EQ(found[0].rows, 4);
}

TEST(RowNumbers, ThatAreNoRowsAreRefusedBeforeAnythingRuns) {
  const Session session(std::make_shared<Program>(two_tables()), 2);
  std::vector<float> a(8), b(8);
  const std::vector<float> zeros(4, 0.0f);
  for (const float wrong : {4.0f, -1.0f, 0.5f, kNaN, kInf}) {
    const std::vector<float> ids = {0, 1, wrong, 2};
    EXPECT_REFUSED(session.run(2, {ids.data(), zeros.data()}, {a.data(), b.data()}), "element 2 of input ids is");
  }
  const std::vector<float> ids = {3, 0, 1, 2}, other = {0, 0, 0, -1};
  session.run(2, {ids.data(), other.data()}, {a.data(), b.data()});
  const ProgramParts p = two_tables();
  EXPECT_EQ(a[0], p.constants[0][6]);
  EXPECT_TRUE(std::isnan(b[0])) << "3 is no row of the second table, and computed";
  EXPECT_EQ(b[6], p.constants[1][2]);
}

// x (N, 2) → its first column → rows of a table of three; what lies in the second is no number of a row.
TEST(RowNumbers, ArePartsOfNoInput) {
  ProgramParts p;
  p.values = {{"x", {kBatch, {2}}}, {"first", {kBatch, {1}}}, {"table", {{3}, {2}}, 0}, {"y", {kBatch, {1}, {2}}}};
  p.constants = {integers(6, 53)};
  p.nodes = {
      {.operation = Operation::slice, .name = "first", .inputs = {0}, .output = 1, .numbers = {0, -1, 1, 0, 1, 1}},
      {.operation = Operation::gather, .name = "y", .inputs = {1, 2}, .output = 3, .numbers = {}},
  };
  p.inputs = {0};
  p.outputs = {3};
  const std::vector<float> table = p.constants[0], x = {2, 9};
  std::vector<float> y(2);
  Session(std::make_shared<Program>(std::move(p)), 1).run(1, {x.data()}, {y.data()});
  EXPECT_EQ(y, (std::vector<float>{table[4], table[5]}));
}

TEST(RowNumbers, OfRowsThatAreWrittenAreCheckedToo) {
  ProgramParts p;
  p.values = {{"past", {{1}, {2}, {5}, {3}}},
              {"rows", {{1}, {2}, kBatch, {3}}},
              {"position", {kBatch}},
              {"numbers", {{1}, kBatch}},
              {"now", {{1}, {2}, {5}, {3}}}};
  p.nodes = {{.operation = Operation::reshape, .name = "numbers", .inputs = {2}, .output = 3, .numbers = {}},
             {.operation = Operation::write_rows, .name = "now", .inputs = {0, 1, 3}, .output = 4, .numbers = {}}};
  p.inputs = {0, 1, 2};
  p.outputs = {4};
  const Session session(std::make_shared<Program>(p), 1);
  std::vector<float> past(30, 1.0f);
  const std::vector<float> rows(12, 2.0f);
  for (const float wrong : {5.0f, -1.0f, 0.5f, kNaN}) {
    const std::vector<float> position = {0, wrong};
    EXPECT_REFUSED(session.run(2, {past.data(), rows.data(), position.data()}, {past.data()}),
                   "element 1 of input position is");
  }
  const std::vector<float> position = {4, 0};
  session.run(2, {past.data(), rows.data(), position.data()}, {past.data()});  // in place
  for (Index row = 0; row < 10; ++row) EXPECT_EQ(past[row * 3], row % 5 == 4 || row % 5 == 0 ? 2.0f : 1.0f) << row;
}

}  // namespace
}  // namespace sparse_engine
