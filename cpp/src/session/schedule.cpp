#include "session/schedule.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/check.hpp"
#include "ops/copy.hpp"
#include "session/apart.hpp"
#include "session/expansions.hpp"
#include "session/joined.hpp"

namespace sparse_engine {
namespace {

Index sum_of(const std::vector<Index>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), Index{0}, [](Index a, Index b) { return checked_add(a, b, "batch"); });
}

class Scheduler {
 public:
  Scheduler(const Kernels& table, Weights& weights, const std::vector<Index>& sizes, int threads)
      : table_(table),
        weights_(weights),
        program_(weights.program()),
        sizes_(sizes),
        outline_{program_, sizes, sum_of(sizes)},
        threads_(threads) {}

  // None where values of several calls lie in one another otherwise than those of all.
  std::optional<Schedule> make() {
    if (!find_outline()) return std::nullopt;
    Placement placement(outline_);
    std::vector<std::map<Index, PlannedNode>> planned;  // of each node, by the size that it is planned at
    std::vector<Index> shared_bytes;
    Index worker_bytes = 0;
    for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
      planned.push_back(plans_of(n));
      Index bytes = 0;
      for (const auto& [size, found] : planned.back())
        for (const auto& plan : found.plans) {
          if (!plan) continue;
          bytes = std::max(bytes, plan->shared_bytes());
          worker_bytes = std::max(worker_bytes, plan->worker_bytes());
        }
      shared_bytes.push_back(bytes);
    }
    placement.place(shared_bytes);
    Schedule schedule{.sizes = sizes_,
                      .batch = outline_.batch,
                      .threads = threads_,
                      .segments = {},
                      .shared_floats = placement.shared_floats(),
                      .local_floats = placement.local_floats(),
                      .scratch_floats = worker_bytes / static_cast<Index>(sizeof(float))};
    const std::size_t apart_until = outline_.apart_until;
    for (std::size_t n = 0; n < program_.nodes().size(); ++n) {
      if (schedule.segments.empty() || (n == apart_until && apart_until > 0))
        schedule.segments.push_back({n < apart_until, {}});
      for (const Run& run : runs_of(n)) add_steps(schedule.segments.back(), n, planned[n].at(run.size), run, placement);
    }
    const std::vector<std::size_t>& copies = placement.copied_outputs();
    if (!copies.empty() && (schedule.segments.empty() || schedule.segments.back().apart))
      schedule.segments.push_back({false, {}});
    for (const std::size_t output : copies)
      for (const Run& run : runs(false)) schedule.segments.back().steps.push_back(copy_of(output, run, placement));
    for (const Segment& segment : schedule.segments)
      schedule.shares_work |= segment.apart || std::any_of(segment.steps.begin(), segment.steps.end(),
                                                           [](const Step& step) { return step.plan->threads() > 1; });
    return schedule;
  }

 private:
  // What a plan is made for: all calls at once, an image of those that run apart, or one call of several.
  struct Run {
    Index size;
    std::size_t call = 0;  // its values lie behind those of the calls before
  };

  const NodeInfo& node(std::size_t n) const { return outline_.node(n); }

  // Whether there is one.
  bool find_outline() {
    if (sizes_.size() == 1) outline_.apart_until = nodes_apart(program_, outline_.batch, threads_);
    outline_.views = find_views(program_, outline_.batch, outline_.apart_until);
    if (sizes_.size() > 1)
      for (const Index size : sizes_) {
        if (views_alone_.contains(size)) continue;
        const std::vector<View>& alone = views_alone_[size] = find_views(program_, size, 0);
        if (!lie_alike(program_, outline_.views, outline_.batch, alone, size)) return false;
      }
    outline_.expansions = find_expansions(program_, outline_.views, outline_.apart_until);
    outline_.expands.assign(outline_.expansions.size(), false);
    for (const Index before : outline_.expansions)
      if (before != -1) outline_.expands[static_cast<std::size_t>(before)] = true;
    return true;
  }

  std::vector<Run> runs(bool joined) const {
    if (joined || sizes_.size() == 1) return {{outline_.batch}};
    std::vector<Run> result;
    result.reserve(sizes_.size());
    for (std::size_t call = 0; call < sizes_.size(); ++call) result.push_back({sizes_[call], call});
    return result;
  }

  std::vector<Run> runs_of(std::size_t n) const {
    if (n < outline_.apart_until) return {{1}};
    return runs(sizes_.size() > 1 && takes_joined_rows(program_, node(n), outline_.views, outline_.batch));
  }

  std::map<Index, PlannedNode> plans_of(std::size_t n) {
    std::map<Index, PlannedNode> result;
    if (outline_.expands[n]) {  // computed with the one that reads it
      for (const Run& run : runs_of(n)) result.emplace(run.size, PlannedNode{});
      return result;
    }
    const Index before = outline_.expansions[n];
    const NodeInfo* expansion = before == -1 ? nullptr : &node(static_cast<std::size_t>(before));
    for (const Run& run : runs_of(n))
      if (!result.contains(run.size))
        result.emplace(run.size, plan_node(table_, weights_, node(n), views_at(run.size), run.size,
                                           n < outline_.apart_until ? 1 : threads_, expansion));
    return result;
  }

  const std::vector<View>& views_at(Index size) const {
    const auto alone = views_alone_.find(size);
    return alone == views_alone_.end() ? outline_.views : alone->second;
  }

  void add_steps(Segment& segment, std::size_t n, const PlannedNode& planned, const Run& run,
                 const Placement& placement) const {
    const NodeInfo& info = node(n);
    const std::vector<View>& views = views_at(run.size);
    const auto place_of = [&](Index value) { return placement.of(value, views, run.call); };
    for (std::size_t i = 0; i < planned.plans.size(); ++i) {
      if (!planned.plans[i]) continue;
      Step step;
      step.plan = planned.plans[i];
      step.weight = planned.weight;
      step.expansion = planned.expansion;
      step.node = n;
      step.kernel = planned.kernel;
      step.multiply_adds = planned.multiply_adds;
      step.workspace = placement.of_workspace(n);
      step.activation = info.activation;
      const Index input = outline_.inputs_of(n)[i];
      step.x = place_of(input);
      step.y = place_of(info.output);
      step.bytes = 4 * (program_.elements(input, run.size) + program_.elements(info.output, run.size));
      if (info.operation == Operation::concat) {
        const View& whole = views[static_cast<std::size_t>(info.output)];
        step.y.offset += part_of(program_, info, i, whole, run.size).offset - whole.offset;
      } else {
        Place* const others[] = {&step.second, &step.third, &step.fourth};
        for (std::size_t other = 1; other < info.inputs.size(); ++other) {
          *others[other - 1] = place_of(info.inputs[other]);
          if (info.operation != Operation::gather) step.bytes += 4 * program_.elements(info.inputs[other], run.size);
        }
      }
      if (info.residual != -1) {
        step.residual = place_of(info.residual);
        step.bytes += 4 * program_.elements(info.residual, run.size);
      }
      if (info.bias != -1) step.bias = program_.constants()[static_cast<std::size_t>(info.bias)].data();
      if (planned.weight) step.bytes += planned.weight->bytes();
      if (planned.expansion) step.bytes += planned.expansion->bytes();
      segment.steps.push_back(std::move(step));
    }
  }

  Step copy_of(std::size_t output, const Run& run, const Placement& placement) const {
    const Index value = program_.outputs()[output], floats = program_.elements(value, run.size);
    Step step;
    step.plan = plan_copy({{floats, 1, 1}}, 0, 1);
    step.x = placement.of(value, views_at(run.size), run.call);
    step.y = placement.of_output(output, run.call);
    step.node = program_.nodes().size() - (program_.nodes().empty() ? 0 : 1);
    step.kernel = "copy to the output";
    step.bytes = 8 * floats;
    return step;
  }

  const Kernels& table_;
  Weights& weights_;
  const Program& program_;
  const std::vector<Index>& sizes_;
  Outline outline_;
  std::map<Index, std::vector<View>> views_alone_;  // where there are several calls, by their sizes
  int threads_;
};

}  // namespace

Schedule make_schedule(const Kernels& table, Weights& weights, Index batch, int threads) {
  return *Scheduler(table, weights, std::vector<Index>{batch}, threads).make();
}

std::optional<Schedule> make_schedule(const Kernels& table, Weights& weights, const std::vector<Index>& sizes, int threads) {
  return Scheduler(table, weights, sizes, threads).make();
}

}  // namespace sparse_engine
