import { textWidth } from '../io/glyphs.ts';
import { heatColour, heatOpacity } from '../io/heatmap.ts';
import { type Colour, type Picture, createPicture, drawText, fillRectangle, placePicture, resizePicture } from '../io/picture.ts';

/** Pictures in rows and columns with words around them, as papers print them. */
export interface PictureGrid {
  /** Bold, at the beginning of the caption. */
  readonly title: string;
  readonly caption: string;
  /** Words above each column. */
  readonly columns: readonly string[];
  /** Words above neighbouring columns: their number and the text; together as many as there are columns. */
  readonly groups?: readonly { readonly span: number; readonly text: string }[];
  readonly rows: readonly { readonly label: string; readonly cells: readonly Picture[] }[];
  /** Scores at the two ends of the maps' colour scale, which is then drawn below. */
  readonly range?: readonly [low: number, high: number];
  /** Side of a cell in pixels. */
  readonly cell: number;
  /** More columns than this go on in further blocks of rows. */
  readonly mostColumns?: number;
}

const paper: Colour = [255, 255, 255];
const ink: Colour = [24, 28, 33];
const quiet: Colour = [96, 104, 113];
const emptyCell: Colour = [236, 238, 241];

/** The lines of a text that fit a width. @param indent room that the first line leaves free */
function wrapped(text: string, size: number, width: number, indent: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    const longer = line ? `${line} ${word}` : word;
    if (textWidth(longer, size) <= width - (lines.length === 1 ? indent : 0)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** A text cut to a width. */
function cut(text: string, size: number, width: number): string {
  if (textWidth(text, size) <= width) return text;
  let kept = text;
  while (kept && textWidth(`${kept}..`, size) > width) kept = kept.slice(0, -1);
  return `${kept}..`;
}

/** A picture made to fit a square cell, in its middle. */
export function fitCell(picture: Picture, cell: number): Picture {
  const scale = cell / Math.max(picture.width, picture.height);
  const [width, height] = [Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale))];
  const resized = picture.width === width && picture.height === height ? picture : resizePicture(picture, width, height);
  if (width === cell && height === cell) return resized;
  const square = createPicture(cell, cell, emptyCell);
  placePicture(square, resized, (cell - width) >> 1, (cell - height) >> 1);
  return square;
}

/** The colour bar of the maps with the scores at its ends. */
function drawScale(picture: Picture, left: number, top: number, size: number, [low, high]: readonly [number, number]): void {
  const [lowText, highText] = [`map: ${low.toFixed(2)}`, high.toFixed(2)];
  drawText(picture, lowText, left, top, size, quiet);
  const barLeft = left + Math.ceil(textWidth(lowText, size)) + size;
  const width = size * 14;
  for (let x = 0; x < width; x++) {
    const value = (x + 0.5) / width;
    const opacity = heatOpacity(value) / heatOpacity(1);
    // Over the grey of an average photo: low values are see-through.
    const colour = heatColour(value).map((channel) => Math.round(150 + (channel - 150) * opacity)) as unknown as Colour;
    fillRectangle(picture, barLeft + x, top - Math.round(size * 0.2), 1, Math.round(size * 1.4), colour);
  }
  drawText(picture, highText, barLeft + width + size, top, size, quiet);
}

/** Draws a grid of pictures. The same pictures and words give the same pixels. */
export function drawGrid({ title, caption, columns, groups, rows, range, cell, mostColumns = columns.length }: PictureGrid): Picture {
  const size = Math.max(9, Math.round(cell / 17));
  const gap = Math.max(3, Math.round(cell / 40));
  const margin = size * 2;
  const labelWidth = Math.ceil(Math.max(...rows.map(({ label }) => textWidth(label, size)))) + size;
  const perBlock = Math.min(columns.length, mostColumns);
  const blocks = Math.ceil(columns.length / perBlock);
  const headerHeight = (groups ? 2 : 1) * Math.round(size * 2.2);
  const blockHeight = headerHeight + rows.length * (cell + gap);
  const [left, top] = [margin + labelWidth, margin];
  const textSize = Math.round(size * 1.1);
  const lineHeight = textSize * 2;
  const width = Math.max(left + perBlock * (cell + gap) - gap + margin, margin * 2 + size * 42);
  const captionTop = top + blocks * (blockHeight + size) + size + (range ? size * 3 : 0);
  const titleWidth = Math.ceil(textWidth(`${title}.`, textSize)) + textSize;
  const lines = wrapped(caption, textSize, width - 2 * margin, titleWidth);
  const picture = createPicture(width, captionTop + lines.length * lineHeight + margin - (lineHeight - textSize), paper);
  const centred = (text: string, from: number, over: number, y: number, colour: Colour): void => {
    const shown = cut(text, size, over);
    drawText(picture, shown, Math.round(from + (over - textWidth(shown, size)) / 2), y, size, colour);
  };
  for (let block = 0; block < blocks; block++) {
    const blockTop = top + block * (blockHeight + size);
    const first = block * perBlock;
    const shown = columns.slice(first, first + perBlock);
    if (groups) {
      let from = left;
      for (const { span, text } of groups) {
        const over = span * (cell + gap) - gap;
        centred(text, from, over, blockTop, ink);
        if (span > 1) fillRectangle(picture, from, blockTop + Math.round(size * 1.5), over, 1, quiet);
        from += over + gap;
      }
    }
    for (const [i, text] of shown.entries()) centred(text, left + i * (cell + gap), cell, blockTop + headerHeight - Math.round(size * 1.7), groups ? quiet : ink);
    for (const [r, { label, cells }] of rows.entries()) {
      const y = blockTop + headerHeight + r * (cell + gap);
      drawText(picture, label, Math.round(left - size - textWidth(label, size)), y + ((cell - size) >> 1), size, ink);
      for (const [i, content] of cells.slice(first, first + perBlock).entries()) placePicture(picture, fitCell(content, cell), left + i * (cell + gap), y);
    }
  }
  if (range) drawScale(picture, left, captionTop - size * 3, size, range);
  drawText(picture, `${title}.`, margin, captionTop, textSize, ink, 1.4);
  for (const [i, line] of lines.entries()) drawText(picture, line, margin + (i ? 0 : titleWidth), captionTop + i * lineHeight, textSize, ink);
  return picture;
}
