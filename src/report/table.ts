/** What stands in a table where there is no number. */
export const noValue = '–';

/** Rows under each other, numbers to the right; also valid Markdown. */
export function table(names: readonly string[], cells: readonly (readonly string[])[]): string {
  const [header, ...rows] = [names, ...cells].map((line) => line.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = header.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column].length)));
  const isNumber = header.map((_, column) => rows.length > 0 && rows.every((row) => row[column] === noValue || /^[-\d.]/.test(row[column])));
  const line = (row: readonly string[]): string => `| ${row.map((cell, column) => (isNumber[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))).join(' | ')} |\n`;
  const rule = `|${widths.map((width, column) => `${'-'.repeat(width + 1)}${isNumber[column] ? ':' : '-'}`).join('|')}|\n`;
  return line(header) + rule + rows.map(line).join('');
}
