// Where the values of a schedule lie: which of them share memory, how long each piece is alive, and its place in the arena.
#pragma once

#include <vector>

#include "session/memory_plan.hpp"
#include "session/views.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine {

// Where a value lies. `item`: how much further it lies for each next image of a segment that runs them apart.
struct Place {
  enum class Kind { none, local, shared, input, output, constant } kind = Kind::none;
  Index index = 0;   // of an input, output or constant
  Index offset = 0;  // in floats
  Index item = 0;
};

// What is decided of a schedule before its values have places.
struct Outline {
  const Program& program;
  const std::vector<Index>& sizes;     // of its calls
  Index batch;                         // their sum
  std::size_t apart_until = 0;         // nodes before it run image by image
  std::vector<View> views = {};        // at the batch
  std::vector<Index> expansions = {};  // of each node the one before it that is computed with it, or -1
  std::vector<bool> expands = {};      // whether a node is such a one

  const NodeInfo& node(std::size_t n) const { return program.nodes()[n]; }

  // What a node reads; of two that are computed together, what the first one reads.
  const std::vector<Index>& inputs_of(std::size_t n) const {
    return node(expansions[n] == -1 ? n : static_cast<std::size_t>(expansions[n])).inputs;
  }
};

class Placement {
 public:
  // Finds which values share memory. `outline` is kept. Throws std::invalid_argument past 63 bits.
  explicit Placement(const Outline& outline);

  // Then finds the places of all, and of what tasks share of a workspace for each node, alive while it runs.
  void place(const std::vector<Index>& shared_bytes);

  // Of a value of one call, which lies behind those of the calls before; `views`: at the size of the call.
  Place of(Index value, const std::vector<View>& views, std::size_t call) const;
  Place of_workspace(std::size_t node) const { return of_buffer(first_workspace_ + static_cast<Index>(node)); }
  // Of a call's part of an output.
  Place of_output(std::size_t output, std::size_t call) const;

  // Outputs that no node writes where the caller wants them: an input, a constant, the same as another output, and what a
  // reshape makes.
  const std::vector<std::size_t>& copied_outputs() const { return copies_; }

  Index shared_floats() const { return shared_.floats; }     // one block for all threads
  Index local_floats() const { return local_plan_.floats; }  // and one for each

 private:
  void find_starts();
  void find_copies();
  std::vector<Index> last_uses() const;
  void find_places_outside();
  void find_buffers(const std::vector<Index>& last_use);
  void extend(Index buffer, Index until);
  Index replaceable(const NodeInfo& info, Index time) const;
  bool is_whole(Index value) const;
  bool same_segment(Index a, Index b) const;
  bool made_by_plan(std::size_t value) const;
  std::size_t root(Index value) const { return static_cast<std::size_t>(outline_.views[static_cast<std::size_t>(value)].root); }
  Index item_floats(Index value) const { return outline_.program.elements(value, 1); }
  Index floats_of(Index value) const { return starts_[static_cast<std::size_t>(value)].back(); }
  Index floats_before(Index value, std::size_t call) const { return starts_[static_cast<std::size_t>(value)][call]; }
  Place of_buffer(Index buffer) const;

  const Outline& outline_;
  const Program& program_;
  std::vector<std::vector<Index>> starts_;  // where each call's part of a value begins, and where the last one ends
  std::vector<Index> buffer_;               // of each root; kNowhere for those outside the arena
  std::vector<Place> place_;                // of those
  std::vector<std::size_t> copies_;
  std::vector<Lifetime> lifetimes_;  // of each buffer
  std::vector<bool> local_;
  std::vector<Index> buffer_first_, buffer_item_, position_;
  Index first_workspace_ = 0;  // workspaces are buffers too
  MemoryPlan shared_, local_plan_;
};

}  // namespace sparse_engine
