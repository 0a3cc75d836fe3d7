// A team is the invocations that share one task, such as the reduction of one row: a whole workgroup that meets in
// workgroup memory, or with @if(subgroups) one subgroup of a workgroup that holds several. A subgroup needs no barrier,
// which is what costs most on software adapters; a workgroup brings more invocations to each row, which hides a GPU's
// latency. A kernel written for teams is both variants. Sums are formed in a fixed tree or by the adapter's own
// subgroup reduction, so they do not depend on scheduling.
//
// The kernel takes a `Place` as the only argument of its entry point and must let every invocation reach each
// reduction: an index beyond the last task is clamped for reading and skipped for writing, not returned from.
// One-dimensional workgroups are taken to be cut into subgroups in the order of local_invocation_index.

override THREADS: u32 = 128;

struct Place {
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @if(subgroups) @builtin(subgroup_size) lanes: u32,
  @if(subgroups) @builtin(subgroup_invocation_id) lane: u32,
}

struct Team {
  // Which task of the whole dispatch.
  index: u32,
  // Which invocation of the team, and how many there are.
  lane: u32,
  lanes: u32,
}

fn team_of(place: Place) -> Team {
  let group = place.group.y * place.groups.x + place.group.x;
  @if(subgroups) {
    return Team(group * (THREADS / place.lanes) + place.thread / place.lanes, place.lane, place.lanes);
  }
  @else {
    return Team(group, place.thread, THREADS);
  }
}

// Two levels instead of a tree: two barriers for each reduction whatever the size. The second array makes a third one
// superfluous: whoever writes the first array of the next reduction has passed the barrier behind its last reader.
// THREADS must be a multiple of MEETING.
const MEETING = 16u;
@if(!subgroups) var<workgroup> team_partial: array<vec4f, THREADS>;
@if(!subgroups) var<workgroup> team_meeting: array<vec4f, MEETING>;

// The sum of `value` over the team, for every invocation of it; four sums at the price of one.
fn team_sum4(value: vec4f, team: Team) -> vec4f {
  @if(subgroups) {
    return subgroupAdd(value);
  }
  @else {
    team_partial[team.lane] = value;
    workgroupBarrier();
    if (team.lane < MEETING) {
      var sum = team_partial[team.lane];
      for (var i = team.lane + MEETING; i < THREADS; i += MEETING) {
        sum += team_partial[i];
      }
      team_meeting[team.lane] = sum;
    }
    workgroupBarrier();
    var sum = team_meeting[0];
    for (var i = 1u; i < MEETING; i++) {
      sum += team_meeting[i];
    }
    return sum;
  }
}

// The sum of `value` over the team, for every invocation of it.
fn team_sum(value: f32, team: Team) -> f32 {
  @if(subgroups) {
    return subgroupAdd(value);
  }
  @else {
    return team_sum4(vec4f(value, 0.0, 0.0, 0.0), team).x;
  }
}

// The largest `value` of the team, for every invocation of it.
fn team_max(value: f32, team: Team) -> f32 {
  @if(subgroups) {
    return subgroupMax(value);
  }
  @else {
    team_partial[team.lane].x = value;
    workgroupBarrier();
    if (team.lane < MEETING) {
      var largest = team_partial[team.lane].x;
      for (var i = team.lane + MEETING; i < THREADS; i += MEETING) {
        largest = max(largest, team_partial[i].x);
      }
      team_meeting[team.lane].x = largest;
    }
    workgroupBarrier();
    var largest = team_meeting[0].x;
    for (var i = 1u; i < MEETING; i++) {
      largest = max(largest, team_meeting[i].x);
    }
    return largest;
  }
}
