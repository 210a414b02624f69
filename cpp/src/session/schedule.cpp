#include "session/schedule.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/check.hpp"
#include "ops/copy.hpp"
#include "program/shapes.hpp"
#include "session/apart.hpp"
#include "session/expansions.hpp"
#include "session/joined.hpp"
#include "session/memory_plan.hpp"

namespace sparse_engine {
namespace {

class Scheduler {
 public:
  Scheduler(const Kernels& table, Weights& weights, const std::vector<Index>& sizes, int threads)
      : table_(table),
        weights_(weights),
        program_(weights.program()),
        sizes_(sizes),
        batch_(
            std::accumulate(sizes.begin(), sizes.end(), Index{0}, [](Index a, Index b) { return checked_add(a, b, "batch"); })),
        threads_(threads) {}

  // None where values of several calls lie in one another otherwise than those of all.
  std::optional<Schedule> make() {
    if (sizes_.size() == 1) apart_until_ = nodes_apart(program_, batch_, threads_);
    views_ = find_views(program_, batch_, apart_until_);
    if (sizes_.size() > 1)
      for (const Index size : sizes_) {
        if (views_alone_.contains(size)) continue;
        const std::vector<View>& alone = views_alone_[size] = find_views(program_, size, 0);
        if (!lie_alike(program_, views_, batch_, alone, size)) return std::nullopt;
      }
    expansions_ = find_expansions(program_, views_, apart_until_);
    expands_.assign(expansions_.size(), false);
    for (const Index before : expansions_)
      if (before != -1) expands_[static_cast<std::size_t>(before)] = true;
    find_starts();
    find_memory();
    Schedule schedule{sizes_, batch_, threads_, {}, 0, 0};
    std::vector<std::map<Index, PlannedNode>> planned;  // of each node, by the size that it is planned at
    Index workspaces_from = static_cast<Index>(lifetimes_.size());
    // Workspaces are values too, alive for one step.
    for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
      planned.push_back(plans_of(n));
      Index bytes = 0;
      for (const auto& [size, found] : planned.back())
        for (const auto& plan : found.plans) bytes = std::max(bytes, plan ? plan->workspace_bytes() : 0);
      const auto time = static_cast<Index>(n);
      lifetimes_.push_back({(bytes + 3) / 4, time, time});
      local_.push_back(n < apart_until_);
    }
    place();
    schedule.shared_floats = shared_.floats;
    schedule.local_floats = local_plan_.floats;
    for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
      if (schedule.segments.empty() || (n == apart_until_ && apart_until_ > 0))
        schedule.segments.push_back({n < apart_until_, {}});
      const Place workspace = place_of_buffer(workspaces_from + static_cast<Index>(n));
      for (const Run& run : runs_of(n)) add_steps(schedule.segments.back(), n, planned[n].at(run.size), run, workspace);
    }
    if (!copies_.empty() && (schedule.segments.empty() || schedule.segments.back().apart))
      schedule.segments.push_back({false, {}});
    for (const std::size_t output : copies_)
      for (const Run& run : runs(false)) schedule.segments.back().steps.push_back(copy_of(output, run));
    return schedule;
  }

 private:
  static constexpr Index kNowhere = -1;

  // What a plan is made for: all calls at once, an image of those that run apart, or one call of several.
  struct Run {
    Index size;
    std::size_t call = 0;  // its values lie behind those of the calls before
  };

  const NodeInfo& node(std::size_t n) const { return program_.nodes()[n]; }

  std::vector<Run> runs(bool joined) const {
    if (joined || sizes_.size() == 1) return {{batch_}};
    std::vector<Run> result;
    result.reserve(sizes_.size());
    for (std::size_t call = 0; call < sizes_.size(); ++call) result.push_back({sizes_[call], call});
    return result;
  }

  std::vector<Run> runs_of(std::size_t n) const {
    if (n < apart_until_) return {{1}};
    return runs(sizes_.size() > 1 && takes_joined_rows(program_, node(n), views_, batch_));
  }

  std::map<Index, PlannedNode> plans_of(std::size_t n) {
    std::map<Index, PlannedNode> result;
    if (expands_[n]) {  // computed with the one that reads it
      for (const Run& run : runs_of(n)) result.emplace(run.size, PlannedNode{});
      return result;
    }
    const Index before = expansions_[n];
    const NodeInfo* expansion = before == -1 ? nullptr : &node(static_cast<std::size_t>(before));
    for (const Run& run : runs_of(n))
      if (!result.contains(run.size))
        result.emplace(run.size, plan_node(table_, weights_, node(n), views_at(run.size), run.size,
                                           n < apart_until_ ? 1 : threads_, expansion));
    return result;
  }

  const std::vector<View>& views_at(Index size) const {
    const auto alone = views_alone_.find(size);
    return alone == views_alone_.end() ? views_ : alone->second;
  }

  // Where each call's part of a value begins, and where the last one ends.
  void find_starts() {
    starts_.resize(program_.values().size());
    for (std::size_t v = 0; v < starts_.size(); ++v) {
      starts_[v].reserve(sizes_.size() + 1);
      starts_[v].push_back(0);
      for (const Index size : sizes_)
        starts_[v].push_back(checked_add(starts_[v].back(), program_.elements(static_cast<Index>(v), size), "arena"));
    }
  }
  Index floats_of(Index value) const { return starts_[static_cast<std::size_t>(value)].back(); }
  Index floats_before(Index value, std::size_t call) const { return starts_[static_cast<std::size_t>(value)][call]; }

  std::size_t root(Index value) const { return static_cast<std::size_t>(views_[static_cast<std::size_t>(value)].root); }

  // Which values share memory (those that lie in others, results in the place of what they replace), and how long each piece is
  // alive. buffer_ and place_ are those of roots.
  void find_memory() {
    const auto& values = program_.values();
    buffer_.assign(values.size(), kNowhere);
    place_.assign(values.size(), Place{});
    std::vector<Index> last_use(values.size(), -1);
    for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
      for (const Index input : inputs_of(n)) last_use[root(input)] = static_cast<Index>(n);
      if (node(n).residual != -1) last_use[root(node(n).residual)] = static_cast<Index>(n);
      last_use[root(node(n).output)] = static_cast<Index>(n);
    }
    // What no node writes where the caller wants it is copied there at the end: an input, a constant, the same as another
    // output, and what a reshape makes.
    std::vector<bool> written(values.size(), false);
    for (std::size_t i = 0; i < program_.outputs().size(); ++i) {
      const auto value = static_cast<std::size_t>(program_.outputs()[i]);
      if (made_by_plan(value) && !written[value]) {
        written[value] = true;
        continue;
      }
      copies_.push_back(i);
      last_use[root(program_.outputs()[i])] = static_cast<Index>(program_.nodes().size());
    }
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
    for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
      const NodeInfo& info = node(n);
      if (expands_[n]) continue;  // its result has no memory
      const std::size_t out = root(info.output);
      if (place_[out].kind != Place::Kind::none || buffer_[out] != kNowhere) continue;
      const auto time = static_cast<Index>(n);
      const Index replaced = replaceable(info, time);
      if (replaced != kNowhere && same_segment(buffer_first_[static_cast<std::size_t>(replaced)], time)) {
        buffer_[out] = replaced;
        extend(replaced, last_use[out]);
        continue;
      }
      const bool apart = n < apart_until_;
      const Index end = last_use[out], whole = static_cast<Index>(out);
      const bool local = apart && end < static_cast<Index>(apart_until_);
      buffer_[out] = static_cast<Index>(lifetimes_.size());
      lifetimes_.push_back({local ? item_floats(whole) : floats_of(whole), time, end});
      local_.push_back(local);
      buffer_first_.push_back(time);
      buffer_item_.push_back(local ? 0 : item_floats(whole));
    }
  }

  bool same_segment(Index a, Index b) const {
    const auto until = static_cast<Index>(apart_until_);
    return (a < until) == (b < until);
  }

  bool made_by_plan(std::size_t value) const {
    return root(static_cast<Index>(value)) == value &&
           std::any_of(program_.nodes().begin(), program_.nodes().end(),
                       [&](const NodeInfo& info) { return info.output == static_cast<Index>(value); });
  }

  void extend(Index buffer, Index until) {
    Lifetime& life = lifetimes_[static_cast<std::size_t>(buffer)];
    if (until >= static_cast<Index>(apart_until_) && local_[static_cast<std::size_t>(buffer)]) {
      // Alive beyond its segment after all: every image needs a place of its own.
      local_[static_cast<std::size_t>(buffer)] = false;
      buffer_item_[static_cast<std::size_t>(buffer)] = life.floats;
      life.floats = checked_mul(life.floats, batch_, "arena");
    }
    life.last = std::max(life.last, until);
  }

  // The buffer that the node's result may take over: of a residual, or of what is changed element by element, when nothing
  // reads it later and the node reads it at the very places it writes.
  Index replaceable(const NodeInfo& info, Index time) const {
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
  bool is_whole(Index value) const {
    const View& view = views_[static_cast<std::size_t>(value)];
    return view.contiguous() && std::all_of(sizes_.begin(), sizes_.end(), [&](Index size) {
             return program_.elements(value, size) == program_.elements(view.root, size);
           });
  }

  // What a node reads; of two that are computed together, what the first one reads.
  const std::vector<Index>& inputs_of(std::size_t n) const {
    const Index before = expansions_[n];
    return node(before == -1 ? n : static_cast<std::size_t>(before)).inputs;
  }

  Index item_floats(Index value) const { return program_.elements(value, 1); }

  // Local buffers and shared ones are planned apart. In a segment whose images run apart all of its steps are at work at once:
  // what is shared there is alive from its beginning to its end.
  void place() {
    std::vector<Lifetime> shared, local;
    for (std::size_t i = 0; i < lifetimes_.size(); ++i) {
      Lifetime life = lifetimes_[i];
      const auto until = static_cast<Index>(apart_until_);
      if (!local_[i] && life.first < until) life.first = 0;
      if (!local_[i] && life.first < until) life.last = std::max(life.last, until - 1);
      (local_[i] ? local : shared).push_back(life);
      position_.push_back(static_cast<Index>((local_[i] ? local : shared).size()) - 1);
    }
    shared_ = plan_memory(shared);
    local_plan_ = plan_memory(local);
  }

  Place place_of_buffer(Index buffer) const {
    const auto i = static_cast<std::size_t>(buffer);
    const auto position = static_cast<std::size_t>(position_[i]);
    if (local_[i]) return {Place::Kind::local, 0, local_plan_.offsets[position], 0};
    return {Place::Kind::shared, 0, shared_.offsets[position], i < buffer_item_.size() ? buffer_item_[i] : 0};
  }

  Place place_of(Index value, const Run& run) const {
    const std::size_t whole = root(value);
    Place place = buffer_[whole] == kNowhere ? place_[whole] : place_of_buffer(buffer_[whole]);
    place.offset += views_at(run.size)[static_cast<std::size_t>(value)].offset;
    if (place.kind != Place::Kind::constant) place.offset += floats_before(static_cast<Index>(whole), run.call);
    return place;
  }

  void add_steps(Segment& segment, std::size_t n, const PlannedNode& planned, const Run& run, const Place& workspace) const {
    const NodeInfo& info = node(n);
    for (std::size_t i = 0; i < planned.plans.size(); ++i) {
      if (!planned.plans[i]) continue;
      Step step;
      step.plan = planned.plans[i];
      step.weight = planned.weight;
      step.expansion = planned.expansion;
      step.node = n;
      step.kernel = planned.kernel;
      step.multiply_adds = planned.multiply_adds;
      step.workspace = workspace;
      step.activation = info.activation;
      const Index input = inputs_of(n)[i];
      step.x = place_of(input, run);
      step.y = place_of(info.output, run);
      step.bytes = 4 * (program_.elements(input, run.size) + program_.elements(info.output, run.size));
      if (info.operation == Operation::concat) {
        const View& whole = views_at(run.size)[static_cast<std::size_t>(info.output)];
        step.y.offset += part_of(program_, info, i, whole, run.size).offset - whole.offset;
      } else {
        Place* const others[] = {&step.second, &step.third, &step.fourth};
        for (std::size_t other = 1; other < info.inputs.size(); ++other) {
          *others[other - 1] = place_of(info.inputs[other], run);
          if (info.operation != Operation::gather) step.bytes += 4 * program_.elements(info.inputs[other], run.size);
        }
      }
      if (info.residual != -1) {
        step.residual = place_of(info.residual, run);
        step.bytes += 4 * program_.elements(info.residual, run.size);
      }
      if (info.bias != -1) step.bias = program_.constants()[static_cast<std::size_t>(info.bias)].data();
      if (planned.weight) step.bytes += planned.weight->bytes();
      if (planned.expansion) step.bytes += planned.expansion->bytes();
      segment.steps.push_back(std::move(step));
    }
  }

  Step copy_of(std::size_t output, const Run& run) const {
    const Index value = program_.outputs()[output], floats = program_.elements(value, run.size);
    Step step;
    step.plan = plan_copy({{floats, 1, 1}}, 0, 1);
    step.x = place_of(value, run);
    step.y = {Place::Kind::output, static_cast<Index>(output), floats_before(value, run.call), 0};
    step.node = program_.nodes().size() - (program_.nodes().empty() ? 0 : 1);
    step.kernel = "copy to the output";
    step.bytes = 8 * floats;
    return step;
  }

  const Kernels& table_;
  Weights& weights_;
  const Program& program_;
  const std::vector<Index>& sizes_;
  Index batch_;  // their sum
  int threads_;
  std::size_t apart_until_ = 0;  // nodes before it run image by image
  std::vector<View> views_;
  std::map<Index, std::vector<View>> views_alone_;  // where there are several calls, by their sizes
  std::vector<std::vector<Index>> starts_;          // of each value
  std::vector<Index> buffer_;                       // of each value; kNowhere for those outside the arena
  std::vector<Place> place_;                        // of those
  std::vector<Lifetime> lifetimes_;
  std::vector<bool> local_;
  std::vector<Index> buffer_first_, buffer_item_, position_;
  std::vector<Index> expansions_;  // of each node the one before it that is computed with it
  std::vector<bool> expands_;      // whether a node is such a one
  std::vector<std::size_t> copies_;
  MemoryPlan shared_, local_plan_;
};

}  // namespace

Schedule make_schedule(const Kernels& table, Weights& weights, Index batch, int threads) {
  return *Scheduler(table, weights, std::vector<Index>{batch}, threads).make();
}

std::optional<Schedule> make_schedule(const Kernels& table, Weights& weights, const std::vector<Index>& sizes, int threads) {
  return Scheduler(table, weights, sizes, threads).make();
}

}  // namespace sparse_engine
