/** The printable characters that stand for the 256 bytes in byte-level BPE (GPT-2's table), in the order of OpenAI's vocabulary. */
function byteCharacters(): string[] {
  const printable = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)];
  const rest = range(0, 0xff).filter((byte) => !printable.includes(byte));
  return [...printable, ...rest.map((_, i) => 256 + i)].map((code) => String.fromCharCode(code));
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/**
 * Byte-pair encoding learned from captions, in the form of CLIP's own vocabulary: the byte alphabet, the same with
 * `</w>`, one token per merge, start and end token last. Frequent pairs are merged first; ties go to the pair that
 * sorts first, so the result depends on the captions alone.
 *
 * @param captions ASCII text
 * @param mostMerges a caption's words rarely need more
 */
export function learnVocabulary(captions: Iterable<string>, mostMerges: number): { readonly vocabulary: Record<string, number>; readonly merges: readonly string[] } {
  const counts = new Map<string, number>();
  for (const caption of captions) {
    // Runs of letters, single digits and signs: CLIP's own cut, for ASCII.
    for (const [word] of caption.toLowerCase().matchAll(/[a-z]+|[0-9]|[^\sa-z0-9]+/g)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const words = [...counts].map(([word, count]) => ({ parts: [...word.slice(0, -1), `${word.at(-1)}</w>`], count }));
  const merges: string[] = [];
  while (merges.length < mostMerges) {
    const pairs = new Map<string, number>();
    for (const { parts, count } of words) for (let i = 0; i + 1 < parts.length; i++) pairs.set(`${parts[i]} ${parts[i + 1]}`, (pairs.get(`${parts[i]} ${parts[i + 1]}`) ?? 0) + count);
    let best: string | undefined;
    for (const [pair, count] of pairs) if (best === undefined || count > pairs.get(best)! || (count === pairs.get(best) && pair < best)) best = pair;
    if (best === undefined) break;
    merges.push(best);
    const [left, right] = best.split(' ');
    for (const word of words) {
      for (let i = 0; i + 1 < word.parts.length; i++) if (word.parts[i] === left && word.parts[i + 1] === right) word.parts.splice(i, 2, left + right);
    }
  }
  const alphabet = byteCharacters();
  const tokens = [...alphabet, ...alphabet.map((letter) => `${letter}</w>`), ...merges.map((merge) => merge.replace(' ', '')), '<|startoftext|>', '<|endoftext|>'];
  return { vocabulary: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}
