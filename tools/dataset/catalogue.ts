// All categories, in alphabetical order.
import type { Category } from './category.ts';
import { biscuit } from './categories/biscuit.ts';
import { bottleCap } from './categories/bottle_cap.ts';
import { bottleTop } from './categories/bottle_top.ts';
import { brushedMetal } from './categories/brushed_metal.ts';
import { button } from './categories/button.ts';
import { cable } from './categories/cable.ts';
import { candle } from './categories/candle.ts';
import { capsule } from './categories/capsule.ts';
import { carpet } from './categories/carpet.ts';
import { circuitBoard } from './categories/circuit_board.ts';
import { concrete } from './categories/concrete.ts';
import { gear } from './categories/gear.ts';
import { granite } from './categories/granite.ts';
import { hazelnut } from './categories/hazelnut.ts';
import { knittedFabric } from './categories/knitted_fabric.ts';
import { leather } from './categories/leather.ts';
import { cross, disc, knob, panel, prism, rod, shaft } from './categories/machine_parts.ts';
import { metalNut } from './categories/metal_nut.ts';
import { perforatedPlate } from './categories/perforated_plate.ts';
import { screw } from './categories/screw.ts';
import { tablet } from './categories/tablet.ts';
import { tile } from './categories/tile.ts';
import { treadPlate } from './categories/tread_plate.ts';
import { wireGrid } from './categories/wire_grid.ts';
import { wood } from './categories/wood.ts';
import { wovenFabric } from './categories/woven_fabric.ts';
import { zipper } from './categories/zipper.ts';

export const categories: readonly Category[] = [
  biscuit,
  bottleCap,
  bottleTop,
  brushedMetal,
  button,
  cable,
  candle,
  capsule,
  carpet,
  circuitBoard,
  concrete,
  cross,
  disc,
  gear,
  granite,
  hazelnut,
  knittedFabric,
  knob,
  leather,
  metalNut,
  panel,
  perforatedPlate,
  prism,
  rod,
  screw,
  shaft,
  tablet,
  tile,
  treadPlate,
  wireGrid,
  wood,
  wovenFabric,
  zipper,
];
