import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { table } from '../../src/report/table.ts';

test('a bar in a name ends no cell, and columns stay under each other', () => {
  assert.is(
    table(['a|b', 'count'], [['x', '1'], ['left|right', '20']]),
    '| a\\|b        | count |\n|-------------|------:|\n| x           |     1 |\n| left\\|right |    20 |\n',
  );
});

test.run();
