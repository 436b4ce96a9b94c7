import { LongList } from '../long-list.js';
import { copyOf } from './lines.js';

/** Characters of a block, after which another one begins. A block lives for as long as a piece of it. */
const BLOCK_LENGTH = 1_024;

/**
 * Many short texts in few longer ones, because each text of its own is an object that garbage collection copies and marks. A
 * text is had again by where it stands and by its length.
 */
export class Texts {
  private blocks = new LongList<string>();
  /** The pieces of the newest block while it grows; its place is `grows`. */
  private pending: string[] = [];
  private pendingLength = 0;
  private grows = 0;
  private last = { text: '', at: 0 };

  /** Returns where the text stands: never in front of one that was added before. */
  push(text: string): number {
    // Neighbours have the same text more often than not.
    if (text === this.last.text) return this.last.at;
    if (this.pendingLength >= BLOCK_LENGTH) this.seal();
    if (this.pendingLength === 0) this.open();
    const at = this.grows * BLOCK_LENGTH + this.pendingLength;
    this.last = { text, at };
    this.pending.push(text);
    this.pendingLength += text.length;
    return at;
  }

  get(at: number, length: number): string {
    if (length === 0) return '';
    const block = Math.floor(at / BLOCK_LENGTH);
    if (block === this.grows) this.seal();
    const from = at % BLOCK_LENGTH;
    return this.blocks.get(block)!.slice(from, from + length);
  }

  /** Texts of its own from a place on, and how many characters stood in front of them. */
  from(at: number): { readonly texts: Texts; readonly dropped: number } {
    this.seal();
    const texts = new Texts();
    const block = Math.floor(at / BLOCK_LENGTH);
    const dropped = block * BLOCK_LENGTH;
    texts.blocks = this.blocks.from(block);
    texts.last = { text: this.last.text, at: this.last.at - dropped };
    return { texts, dropped };
  }

  /** Ends the newest block. From then on nothing is kept of what its texts were pieces of. */
  seal(): void {
    if (this.pendingLength === 0) return;
    this.blocks.put(this.grows, copyOf(this.pending.join('')));
    this.pending = [];
    this.pendingLength = 0;
    const { text, at } = this.last;
    this.last = { text: this.get(at, text.length), at };
  }

  /** A live playlist adds few texts with each reading, which share a block. */
  private open(): void {
    const { blocks } = this;
    const newest = blocks.last ?? '';
    const goesOn = newest !== '' && newest.length < BLOCK_LENGTH;
    this.grows = goesOn ? blocks.length - 1 : blocks.length;
    if (goesOn) this.pending.push(newest);
    this.pendingLength = goesOn ? newest.length : 0;
  }
}
