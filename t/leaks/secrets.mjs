// Every secret of a run, and the search for what is left of them: in any form, in files or in bytes.
//
// A canary is a text of the same shape that is put into a place on purpose.  It is found by the same search, or the search
// has looked at the wrong place.

import { randomBytes } from 'node:crypto';
import { lstatSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

import { SECRET } from '../http/lib.mjs';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
export const KEY_LENGTH = 43;
const PIECE = 16; // the first and the last so many of a key are searched for: a key that was cut short counts too
const SHORTEST = 16; // bytes of the shortest needle

const known = new Map(); // key -> what it is
const planted = new Map(); // key -> where it was put
let index = null; // made anew when a key was added

// A text of the shape of a key; upper: of capitals only, as the method of a request is.
export const randomKey = (upper = false) =>
	[...randomBytes(KEY_LENGTH)].map((byte) => (upper ? ALPHABET[10 + (byte % 26)] : ALPHABET[byte % 62])).join('');

// The part of a secret that nobody else knows.
export function keyOf(secret) {
	const own = secret.match(SECRET)?.[4];
	if (own) return own;
	if (/^eyJ[\w-]+\.[\w-]+\.[\w-]+$/.test(secret)) return secret.split('.')[2]; // the signature of a JWT
	return secret.match(/(?:\.v2_.{22}_|\.)([\w-]{16,})$/)?.[1] ?? secret;
}

function add(map, secret, what) {
	if (!map.has(keyOf(secret))) index = null;
	map.set(keyOf(secret), what);
	return secret;
}

export const know = (secret, what) => add(known, secret, what);
export const unknown = (what) => know(randomKey(), what);
export const plant = (where) => add(planted, randomKey(), where);
export const plantText = (text, where) => add(planted, text, where);
export const secretCount = () => known.size;
export const canaryCount = () => planted.size;

// ---- Forms ----------------------------------------------------------------------------------------------------------

// Those groups of three bytes that hold nothing but the key, behind so many other bytes in the first group.
const base64At = (shift, kind) => (bytes) =>
	Buffer.concat([Buffer.alloc(shift), bytes]).toString(kind).slice(shift ? 4 : 0, Math.floor((shift + bytes.length) / 3) * 4);
const each = (write, separator = '') => (bytes) => [...bytes].map(write).join(separator);

export const FORMS = {
	raw: (bytes) => bytes.toString('latin1'),
	hex: (bytes) => bytes.toString('hex'),
	'hex in capitals': (bytes) => bytes.toString('hex').toUpperCase(),
	'base64, first alignment': base64At(0, 'base64'),
	'base64, second alignment': base64At(1, 'base64'),
	'base64, third alignment': base64At(2, 'base64'),
	'base64url, first alignment': base64At(0, 'base64url'),
	'base64url, second alignment': base64At(1, 'base64url'),
	'base64url, third alignment': base64At(2, 'base64url'),
	'percent-encoded': each((byte) => `%${byte.toString(16)}`),
	'percent-encoded in capitals': each((byte) => `%${byte.toString(16).toUpperCase()}`),
	'escapes of JSON': each((byte) => `\\u00${byte.toString(16)}`),
	'decimal bytes': each((byte) => String(byte), ' '), // as the server prints a constant of a plan
	'UTF-16': each((byte) => `${String.fromCharCode(byte)}\0`),
};

// What to look for, by its first bytes: a bit for each three of them, then a map for the sixteen that follow from there.
function makeIndex() {
	const bits = new Uint32Array(1 << 19), needles = new Map();
	const enter = (text, entry) => {
		if (text.length < SHORTEST) throw new Error(`too short to be looked for: ${entry.form}`);
		const start = text.slice(0, SHORTEST), hash = (text.charCodeAt(0) << 16) | (text.charCodeAt(1) << 8) | text.charCodeAt(2);
		bits[hash >>> 5] |= 1 << (hash & 31);
		if (!needles.has(start)) needles.set(start, []);
		needles.get(start).push({ bytes: Buffer.from(text, 'latin1'), ...entry });
	};
	for (const [map, canary] of [[known, false], [planted, true]])
		for (const [key, what] of map) {
			const bytes = Buffer.from(key, 'latin1');
			const pieces = new Set([bytes.subarray(0, PIECE), bytes.subarray(-PIECE)].map((piece) => piece.toString('latin1')));
			for (const piece of pieces)
				for (const [form, write] of Object.entries(FORMS)) enter(write(Buffer.from(piece, 'latin1')), { key, what, form, canary });
		}
	return { bits, needles };
}

// ---- The search -----------------------------------------------------------------------------------------------------

// Where in the bytes: [{at, key, what, form, canary}].
function scan(bytes) {
	index ??= makeIndex();
	const { bits, needles } = index, hits = [], end = bytes.length - SHORTEST;
	let hash = (bytes[0] << 8) | bytes[1];
	for (let i = 0; i <= end; i++) {
		hash = ((hash << 8) | bytes[i + 2]) & 0xffffff;
		if ((bits[hash >>> 5] & (1 << (hash & 31))) === 0) continue;
		for (const needle of needles.get(bytes.latin1Slice(i, i + SHORTEST)) ?? [])
			if (bytes.subarray(i, i + needle.bytes.length).equals(needle.bytes)) hits.push({ at: i, ...needle });
	}
	return hits;
}

// All files below the places named; one that goes away in between is left out.
export function filesOf(...places) {
	return places.flatMap((place) => {
		const entry = lstatSync(place, { throwIfNoEntry: false });
		if (entry?.isDirectory()) return filesOf(...readdirSync(place).map((name) => path.join(place, name)));
		return entry?.isFile() ? [place] : [];
	});
}

// What was found in files or in bytes, and how many bytes were searched.
export class Found {
	constructor() {
		this.bytes = this.files = 0;
		this.secrets = [];
		this.canaries = new Map(); // key -> the forms it was found in
	}
	in(content, where) {
		this.bytes += content.length;
		this.files++;
		for (const hit of scan(content)) {
			if (hit.canary) {
				if (!this.canaries.has(hit.key)) this.canaries.set(hit.key, new Set());
				this.canaries.get(hit.key).add(hit.form);
			} else this.secrets.push(`${hit.what} (${hit.form}) is in ${where}, behind: ${before(content, hit.at)}`);
		}
		return this;
	}
	inFiles(...places) {
		for (const file of filesOf(...places)) {
			let content;
			try {
				content = readFileSync(file);
			} catch (error) {
				if (error.code === 'ENOENT') continue;
				throw error;
			}
			this.in(content, file);
		}
		return this;
	}
}

// What stands before a hit in its line, without what may be the rest of the secret.
function before(content, at) {
	const line = content.subarray(Math.max(content.lastIndexOf(10, at) + 1, at - 160), at).toString('latin1');
	return line.replace(/[^\x20-\x7e]+/g, '.').replace(/[\w-]{20,}$/, '***');
}

export const search = (content, where = 'a text') => new Found().in(Buffer.isBuffer(content) ? content : Buffer.from(content), where);

export function assertAbsent(found) {
	if (found.secrets.length > 0) throw new Error(`${found.secrets.length} found, the first of them:\n${found.secrets.slice(0, 4).join('\n')}`);
}
