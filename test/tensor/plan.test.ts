import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Lifetime, type MemoryPlan, planMemory } from '../../src/tensor/plan.ts';

/** Fails when two intermediates that live at the same time share a slot, or one does not fit into its slot. */
function assertValid(lifetimes: readonly Lifetime[], plan: MemoryPlan): void {
  assert.is(plan.assignment.length, lifetimes.length);
  lifetimes.forEach((a, i) => {
    assert.ok(plan.slots[plan.assignment[i]] >= a.bytes, `intermediate ${i} does not fit`);
    lifetimes.slice(i + 1).forEach((b, j) => {
      if (plan.assignment[i] === plan.assignment[i + 1 + j]) assert.ok(a.last < b.first || b.last < a.first, `${i} and ${i + 1 + j} overlap`);
    });
  });
  assert.is(plan.bytes, plan.slots.reduce((a, b) => a + b, 0));
  assert.ok(plan.bytes >= plan.lowerBound);
}

/** The largest sum of bytes alive at one step, counted step by step. */
function mostAlive(lifetimes: readonly Lifetime[]): number {
  const end = Math.max(0, ...lifetimes.map(({ last }) => last));
  let most = 0;
  for (let step = 0; step <= end; step++) most = Math.max(most, lifetimes.reduce((sum, { bytes, first, last }) => sum + (first <= step && step <= last ? bytes : 0), 0));
  return most;
}

test('nothing to plan needs nothing', () => {
  assert.equal(planMemory([]), { slots: [], assignment: [], bytes: 0, alive: [], lowerBound: 0 });
});

test('a chain of equal intermediates needs two buffers', () => {
  const chain = Array.from({ length: 50 }, (_, i) => ({ bytes: 4096, first: i, last: i + 1 }));
  const plan = planMemory(chain);
  assertValid(chain, plan);
  assert.is(plan.bytes, 8192);
  assert.is(plan.lowerBound, 8192);
});

test('what is alive at each moment is added up, ends included', () => {
  const lives = [{ bytes: 5, first: 0, last: 1 }, { bytes: 7, first: 1, last: 3 }, { bytes: 11, first: 3, last: 4 }];
  assert.equal(planMemory(lives).alive, [5, 12, 7, 18, 11]);
  assert.is(planMemory(lives).lowerBound, 18);
});

test('a read and a write in the same step never share a buffer', () => {
  const touching = [{ bytes: 64, first: 0, last: 3 }, { bytes: 64, first: 3, last: 5 }];
  assert.is(planMemory(touching).slots.length, 2);
});

test('twelve transformer blocks need no more than one', () => {
  // Per layer: residual stream in, norm, qkv, attention, residual, norm, mlp, residual out.
  const lives: Lifetime[] = [];
  let step = 0;
  let stream = lives.push({ bytes: 1000, first: 0, last: 0 }) - 1;
  const until = (i: number, last: number): void => {
    lives[i] = { ...lives[i], last };
  };
  const make = (bytes: number): number => lives.push({ bytes, first: ++step, last: step }) - 1;
  for (let layer = 0; layer < 12; layer++) {
    const norm = make(1000);
    until(stream, step);
    const qkv = make(3000);
    until(norm, step);
    const attention = make(1000);
    until(qkv, step);
    const middle = make(1000);
    until(attention, step);
    until(stream, step);
    const second = make(1000);
    until(middle, step);
    const mlp = make(4000);
    until(second, step);
    const next = make(1000);
    until(mlp, step);
    until(middle, step);
    stream = next;
  }
  const plan = planMemory(lives);
  assertValid(lives, plan);
  assert.is(plan.lowerBound, mostAlive(lives));
  assert.is(plan.lowerBound, 6000);
  // Where the attention's residual is added, three small ones are alive, none of which can lie in the large buffer that
  // qkv used before and the mlp uses after: one more than the bound, which knows no buffers.
  assert.equal(plan.slots, [4000, 1000, 1000, 1000]);
});

test('random lifetimes are planned validly, near the lower bound', () => {
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * below);
  };
  for (let round = 0; round < 50; round++) {
    const lifetimes = Array.from({ length: 1 + random(60) }, () => {
      const first = random(80);
      return { bytes: 16 * (1 + random(1000)), first, last: first + random(12) };
    });
    const plan = planMemory(lifetimes);
    assertValid(lifetimes, plan);
    assert.is(plan.lowerBound, mostAlive(lifetimes));
    assert.ok(plan.bytes <= 1.6 * plan.lowerBound, `${plan.bytes} for at least ${plan.lowerBound}`);
  }
});

test.run();
