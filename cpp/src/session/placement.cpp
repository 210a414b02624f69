#include "session/placement.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "program/shapes.hpp"

namespace sparse_engine {
namespace {

constexpr Index kNowhere = -1;

}  // namespace

Placement::Placement(const Outline& outline) : outline_(outline), program_(outline.program) {
  find_starts();
  buffer_.assign(program_.values().size(), kNowhere);
  place_.assign(program_.values().size(), Place{});
  find_copies();
  find_places_outside();
  find_buffers(last_uses());
}

void Placement::find_starts() {
  starts_.resize(program_.values().size());
  for (std::size_t v = 0; v < starts_.size(); ++v) {
    starts_[v].reserve(outline_.sizes.size() + 1);
    starts_[v].push_back(0);
    for (const Index size : outline_.sizes)
      starts_[v].push_back(checked_add(starts_[v].back(), program_.elements(static_cast<Index>(v), size), "arena"));
  }
}

void Placement::find_copies() {
  std::vector<bool> written(program_.values().size(), false);
  for (std::size_t i = 0; i < program_.outputs().size(); ++i) {
    const auto value = static_cast<std::size_t>(program_.outputs()[i]);
    if (made_by_plan(value) && !written[value])
      written[value] = true;
    else
      copies_.push_back(i);
  }
}

// The last node that reads or writes each root; of what is copied to the caller at the end, one behind the last.
std::vector<Index> Placement::last_uses() const {
  std::vector<Index> last_use(program_.values().size(), -1);
  for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
    const NodeInfo& info = outline_.node(n);
    for (const Index input : outline_.inputs_of(n)) last_use[root(input)] = static_cast<Index>(n);
    if (info.residual != -1) last_use[root(info.residual)] = static_cast<Index>(n);
    last_use[root(info.output)] = static_cast<Index>(n);
  }
  for (const std::size_t output : copies_)
    last_use[root(program_.outputs()[output])] = static_cast<Index>(program_.nodes().size());
  return last_use;
}

// Of inputs, constants and outputs: what does not lie in the arena.
void Placement::find_places_outside() {
  const auto& values = program_.values();
  for (std::size_t i = 0; i < program_.inputs().size(); ++i) {
    const Index value = program_.inputs()[i];
    place_[static_cast<std::size_t>(value)] = {Place::Kind::input, static_cast<Index>(i), 0, item_floats(value)};
  }
  for (std::size_t v = 0; v < values.size(); ++v)
    if (values[v].constant != -1) place_[v] = {Place::Kind::constant, values[v].constant, 0, 0};
  for (std::size_t i = 0; i < program_.outputs().size(); ++i) {
    const auto value = static_cast<std::size_t>(program_.outputs()[i]);
    if (std::find(copies_.begin(), copies_.end(), i) == copies_.end())
      place_[value] = {Place::Kind::output, static_cast<Index>(i), 0, item_floats(static_cast<Index>(value))};
  }
}

// The rest lies in the arena, a result in the place of what it replaces where that is possible.
void Placement::find_buffers(const std::vector<Index>& last_use) {
  for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
    const NodeInfo& info = outline_.node(n);
    if (outline_.expands[n]) continue;  // its result has no memory
    const std::size_t out = root(info.output);
    if (place_[out].kind != Place::Kind::none || buffer_[out] != kNowhere) continue;
    const auto time = static_cast<Index>(n);
    const Index replaced = replaceable(info, time);
    if (replaced != kNowhere && same_segment(buffer_first_[static_cast<std::size_t>(replaced)], time)) {
      buffer_[out] = replaced;
      extend(replaced, last_use[out]);
      continue;
    }
    const bool apart = n < outline_.apart_until;
    const Index end = last_use[out], whole = static_cast<Index>(out);
    const bool local = apart && end < static_cast<Index>(outline_.apart_until);
    buffer_[out] = static_cast<Index>(lifetimes_.size());
    lifetimes_.push_back({local ? item_floats(whole) : floats_of(whole), time, end});
    local_.push_back(local);
    buffer_first_.push_back(time);
    buffer_item_.push_back(local ? 0 : item_floats(whole));
  }
}

bool Placement::same_segment(Index a, Index b) const {
  const auto until = static_cast<Index>(outline_.apart_until);
  return (a < until) == (b < until);
}

bool Placement::made_by_plan(std::size_t value) const {
  return root(static_cast<Index>(value)) == value &&
         std::any_of(program_.nodes().begin(), program_.nodes().end(),
                     [&](const NodeInfo& info) { return info.output == static_cast<Index>(value); });
}

void Placement::extend(Index buffer, Index until) {
  Lifetime& life = lifetimes_[static_cast<std::size_t>(buffer)];
  if (until >= static_cast<Index>(outline_.apart_until) && local_[static_cast<std::size_t>(buffer)]) {
    // Alive beyond its segment after all: every image needs a place of its own.
    local_[static_cast<std::size_t>(buffer)] = false;
    buffer_item_[static_cast<std::size_t>(buffer)] = life.floats;
    life.floats = checked_mul(life.floats, outline_.batch, "arena");
  }
  life.last = std::max(life.last, until);
}

// The buffer that the node's result may take over: of a residual, or of what is changed element by element, when nothing
// reads it later and the node reads it at the very places it writes.
Index Placement::replaceable(const NodeInfo& info, Index time) const {
  std::vector<Index> candidates;
  if (root(info.output) != static_cast<std::size_t>(info.output)) return kNowhere;
  // Of softmax and norms a row is read before it is written.
  const bool elementwise = is_elementwise(info.operation) || info.operation == Operation::softmax ||
                           info.operation == Operation::layer_norm || info.operation == Operation::rms_norm;
  if (info.residual != -1) candidates.push_back(info.residual);
  if (elementwise) candidates.push_back(info.inputs[0]);
  for (const Index value : candidates) {
    const Index buffer = buffer_[root(value)];
    if (!is_whole(value) || buffer == kNowhere || lifetimes_[static_cast<std::size_t>(buffer)].last > time) continue;
    bool read_otherwise = false;  // by this very node, at other places
    for (std::size_t i = 0; i < info.inputs.size(); ++i)
      if (info.inputs[i] != value || info.residual == value)
        read_otherwise |= buffer_[root(info.inputs[i])] == buffer && !(elementwise && i == 0);
    for (std::size_t i = 1; elementwise && i < info.inputs.size(); ++i)
      read_otherwise |= buffer_[root(info.inputs[i])] == buffer;
    if (!read_otherwise) return buffer;
  }
  return kNowhere;
}

// All that its root is, in the same order.
bool Placement::is_whole(Index value) const {
  const View& view = outline_.views[static_cast<std::size_t>(value)];
  return view.contiguous() && std::all_of(outline_.sizes.begin(), outline_.sizes.end(), [&](Index size) {
           return program_.elements(value, size) == program_.elements(view.root, size);
         });
}

// Local buffers and shared ones are planned apart. In a segment whose images run apart all of its steps are at work at once:
// what is shared there is alive from its beginning to its end.
void Placement::place(const std::vector<Index>& shared_bytes) {
  first_workspace_ = static_cast<Index>(lifetimes_.size());
  for (std::size_t n = 0; n < shared_bytes.size(); ++n) {
    const auto time = static_cast<Index>(n);
    lifetimes_.push_back({(shared_bytes[n] + 3) / 4, time, time});
    local_.push_back(n < outline_.apart_until);
  }
  std::vector<Lifetime> shared, local;
  for (std::size_t i = 0; i < lifetimes_.size(); ++i) {
    Lifetime life = lifetimes_[i];
    const auto until = static_cast<Index>(outline_.apart_until);
    if (!local_[i] && life.first < until) life.first = 0;
    if (!local_[i] && life.first < until) life.last = std::max(life.last, until - 1);
    (local_[i] ? local : shared).push_back(life);
    position_.push_back(static_cast<Index>((local_[i] ? local : shared).size()) - 1);
  }
  shared_ = plan_memory(shared);
  local_plan_ = plan_memory(local);
}

Place Placement::of_buffer(Index buffer) const {
  const auto i = static_cast<std::size_t>(buffer);
  const auto position = static_cast<std::size_t>(position_[i]);
  if (local_[i]) return {Place::Kind::local, 0, local_plan_.offsets[position], 0};
  return {Place::Kind::shared, 0, shared_.offsets[position], i < buffer_item_.size() ? buffer_item_[i] : 0};
}

Place Placement::of(Index value, const std::vector<View>& views, std::size_t call) const {
  const std::size_t whole = root(value);
  Place place = buffer_[whole] == kNowhere ? place_[whole] : of_buffer(buffer_[whole]);
  place.offset += views[static_cast<std::size_t>(value)].offset;
  if (place.kind != Place::Kind::constant) place.offset += floats_before(static_cast<Index>(whole), call);
  return place;
}

Place Placement::of_output(std::size_t output, std::size_t call) const {
  return {Place::Kind::output, static_cast<Index>(output), floats_before(program_.outputs()[output], call), 0};
}

}  // namespace sparse_engine
