import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { UserError } from '../../errors.ts';

/** A text as the text tower takes it. */
export interface EncodedText {
  /** Token ids, as many as the context is long: start, text, end, padding. */
  readonly ids: Uint32Array;
  /**
   * Position of the end token, whose output is the text's embedding. In CLIP's own vocabulary the end token has the
   * largest id, so that this is also where OpenAI's code and older configurations look (the first largest id).
   */
  readonly endOfText: number;
}

/** Turns texts into the token ids that a CLIP text tower was trained with. */
export interface Tokenizer {
  /** The file that the vocabulary came from, for messages. */
  readonly file: string;
  /** One more than the largest id. */
  readonly vocabularySize: number;
  readonly startId: number;
  readonly endId: number;
  /**
   * Start token, the text's tokens, end token, then padding. Padding is what the folder's configuration names, else the
   * end token (Hugging Face's default; OpenAI's code pads with 0). Attention is causal and the end token's output is
   * what is read, so that plain CLIP never sees padding; only `i2tp.concat: token` mixes it in.
   *
   * @param context length of the result, 77 in all of OpenAI's models
   * @param options truncate: cut a text that is too long, keeping the end token; otherwise it is an error
   * @throws UserError when the text does not fit, or has characters or special tokens that the vocabulary has no place for
   */
  encode(text: string, context?: number, options?: { readonly truncate?: boolean }): EncodedText;
}

/** A vocabulary larger than this, or a file larger than MAX_FILE_BYTES, belongs to no CLIP (which has 49,408 tokens, in 2 MB). */
const MAX_VOCABULARY = 1 << 24;
const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** How CLIP cuts a text into words before byte-pair encoding: English endings, runs of letters, single digits, other signs. */
const wordPattern = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

type Json = Record<string, unknown>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The content of a `tokenizer.json` for a CLIP vocabulary: byte-level byte-pair encoding of lower-cased text with white
 * space collapsed and `</w>` at word ends. It is what Hugging Face's converter makes of `vocab.json` and `merges.txt`.
 *
 * @param vocabulary token → id, with the start and end tokens in it
 * @param merges "left right", by rank
 */
export function clipTokenizerJson(vocabulary: Readonly<Record<string, number>>, merges: readonly string[], start = '<|startoftext|>', end = '<|endoftext|>'): Json {
  const special = (content: string, normalized: boolean): Json => ({ id: vocabulary[content], content, single_word: false, lstrip: false, rstrip: false, normalized, special: true });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(start, true), special(end, false)],
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }] },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: wordPattern }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
      ],
    },
    post_processor: { type: 'RobertaProcessing', sep: [end, vocabulary[end]], cls: [start, vocabulary[start]], trim_offsets: false, add_prefix_space: false },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true },
    model: { type: 'BPE', dropout: null, unk_token: end, continuing_subword_prefix: '', end_of_word_suffix: '</w>', fuse_unk: false, vocab: vocabulary, merges },
  };
}

/** The text of a file in the folder; undefined when there is none. */
async function readText(file: string): Promise<string | undefined> {
  try {
    const status = await stat(file);
    if (!status.isFile()) throw new Error('it is not a file');
    if (status.size > MAX_FILE_BYTES) throw new Error(`${status.size} bytes are too many for a tokenizer`);
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UserError(`cannot read ${file}: ${(error as Error).message}.`);
  }
}

async function readJson(file: string): Promise<Json | undefined> {
  const text = await readText(file);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: it is not JSON (${(error as Error).message}).`);
  }
  if (!isObject(value)) throw new UserError(`${file}: it is not a JSON object.`);
  return value;
}

/** A vocabulary whose ids are numbers that an embedding table can have rows for. */
function checkVocabulary(vocabulary: unknown, file: string): Record<string, number> {
  if (!isObject(vocabulary) || Object.keys(vocabulary).length === 0) throw new UserError(`${file}: the vocabulary is missing or not an object of token ids.`);
  for (const [token, id] of Object.entries(vocabulary)) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_VOCABULARY) throw new UserError(`${file}: token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}, which is not a row number.`);
  }
  return vocabulary as Record<string, number>;
}

/** Byte-pair merges: "left right" or ["left", "right"]. */
function checkMerges(merges: unknown, file: string): void {
  const isPair = (merge: unknown): boolean =>
    typeof merge === 'string' ? /^[^ ]+ [^ ]+$/.test(merge) : Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string');
  if (!Array.isArray(merges)) throw new UserError(`${file}: the merges are missing.`);
  const wrong = merges.findIndex((merge) => !isPair(merge) || typeof merge !== typeof merges[0]);
  if (wrong >= 0) throw new UserError(`${file}: merge ${wrong} is ${JSON.stringify(merges[wrong])}, not two tokens.`);
}

/** `vocab.json` and `merges.txt` as the `tokenizer.json` that they stand for. */
async function fromVocabularyAndMerges(folder: string, start: string, end: string): Promise<Json | undefined> {
  const [vocabularyFile, mergesFile] = [join(folder, 'vocab.json'), join(folder, 'merges.txt')];
  const vocabulary = await readJson(vocabularyFile);
  const text = await readText(mergesFile);
  if (!vocabulary || text === undefined) return undefined;
  const ids = checkVocabulary(vocabulary, vocabularyFile);
  for (const token of [start, end]) if (!Object.hasOwn(ids, token)) throw new UserError(`${vocabularyFile}: the vocabulary has no ${JSON.stringify(token)}.`);
  const lines = text.split(/\r?\n/);
  const merges: string[] = [];
  for (const [i, line] of lines.entries()) {
    if (line === '' || (i === 0 && line.startsWith('#version'))) continue;
    if (!/^[^ ]+ [^ ]+$/.test(line)) throw new UserError(`${mergesFile}, line ${i + 1}: ${JSON.stringify(line)} is not two tokens.`);
    merges.push(line);
  }
  return clipTokenizerJson(ids, merges, start, end);
}

/** A special token as configurations write it: a string, or an object with its content. */
function specialToken(configuration: Json | undefined, key: string): string | undefined {
  const value = configuration?.[key];
  const content = isObject(value) ? value.content : value;
  return typeof content === 'string' ? content : undefined;
}

/**
 * Loads the tokenizer of a CLIP folder: `tokenizer.json`, or `vocab.json` with `merges.txt`; the names of the start, end
 * and padding tokens from `tokenizer_config.json` or `special_tokens_map.json` when they are there.
 *
 * @throws UserError naming the files that were looked for, or the file and entry that are wrong
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const configuration = await readJson(join(folder, 'tokenizer_config.json'));
  const specialTokens = await readJson(join(folder, 'special_tokens_map.json'));
  const nameOf = (key: string, otherwise: string): string => specialToken(configuration, key) ?? specialToken(specialTokens, key) ?? otherwise;
  const start = nameOf('bos_token', '<|startoftext|>');
  const end = nameOf('eos_token', '<|endoftext|>');
  const padding = nameOf('pad_token', end);

  let file = join(folder, 'tokenizer.json');
  let json = await readJson(file);
  if (!json) {
    json = await fromVocabularyAndMerges(folder, start, end);
    if (!json) throw new UserError(`${folder} has no tokenizer: looked for tokenizer.json, and for vocab.json with merges.txt. Copy them from where the checkpoint came from.`);
    file = join(folder, 'vocab.json');
  }
  const { model, added_tokens: added } = json;
  if (!isObject(model) || model.type !== 'BPE') throw new UserError(`${file}: the model is ${JSON.stringify(isObject(model) ? model.type : model)}; CLIP's tokenizer is byte-pair encoding ("BPE").`);
  const vocabulary = checkVocabulary(model.vocab, file);
  checkMerges(model.merges, file);
  const ids = new Map(Object.entries(vocabulary));
  if (!Array.isArray(added)) throw new UserError(`${file}: added_tokens is missing.`);
  for (const token of added as unknown[]) {
    if (!isObject(token) || typeof token.content !== 'string') throw new UserError(`${file}: added token ${JSON.stringify(token)} has no content.`);
    checkVocabulary({ [token.content]: token.id }, file);
    ids.set(token.content, token.id as number);
  }
  const idOf = (token: string): number => {
    const id = ids.get(token);
    if (id === undefined) throw new UserError(`${file}: the vocabulary has no ${JSON.stringify(token)}.`);
    return id;
  };
  const [startId, endId, paddingId] = [idOf(start), idOf(end), idOf(padding)];
  let tokenizer: HuggingFaceTokenizer;
  try {
    tokenizer = new HuggingFaceTokenizer(json, configuration ?? {});
  } catch (error) {
    throw new UserError(`${file}: it cannot be used as a tokenizer: ${(error as Error).message}.`);
  }
  const unknown = typeof model.unk_token === 'string' ? ids.get(model.unk_token) : undefined;
  let largest = 0;
  for (const id of ids.values()) largest = Math.max(largest, id);

  return {
    file,
    vocabularySize: largest + 1,
    startId,
    endId,
    encode(text, context = 77, { truncate = false } = {}) {
      // The library places start and end by the file's post-processor, which may be missing: here they are always there.
      const tokens = tokenizer.encode(text, { add_special_tokens: false }).ids;
      for (const id of tokens) {
        // Written out in a text, an end token would end it early; the vocabulary's unknown token often is the end token.
        if (id === startId || id === endId || id === unknown || id === undefined) {
          throw new UserError(`${JSON.stringify(text)} has characters that the vocabulary in ${file} does not know, or one of its special tokens.`);
        }
      }
      const room = context - 2;
      if (!(room >= 0)) throw new Error(`a context of ${context} has no place for the start and end tokens`);
      if (tokens.length > room && !truncate) {
        throw new UserError(`${JSON.stringify(text)} has ${tokens.length} tokens; ${room} fit between start and end. Use fewer words.`);
      }
      const kept = Math.min(tokens.length, room);
      const result = new Uint32Array(context).fill(paddingId);
      result[0] = startId;
      result.set(tokens.slice(0, kept), 1);
      result[kept + 1] = endId;
      return { ids: result, endOfText: kept + 1 };
    },
  };
}
