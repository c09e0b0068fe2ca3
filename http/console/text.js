// How are names, times and states shown?  A name is what somebody else chose: nothing in it may pretend to be something else.

import { h } from './dom.js';

// Characters that are not seen, or turn the direction of what stands around them, or are blanks of another kind.
const HIDDEN = /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}\p{Cc}\p{Co}\p{Cn}\p{Cs}]|[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]|^ +| +$| {2,}/gu;
// Letters of these look alike: a word of two of them is not what it seems to be.
const SCRIPTS = ['Latin', 'Cyrillic', 'Greek', 'Armenian', 'Cherokee'].map((script) => new RegExp(`\\p{Script=${script}}`, 'u'));
// Marks upon marks run over the lines above and below.
const STACKED = /\p{M}{4,}/u;

const codes = (text) => [...text].map((c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`).join(' ');

const mixesScripts = (text) => text.split(/[^\p{L}\p{M}\p{N}]+/u).some((word) => SCRIPTS.filter((script) => script.test(word)).length > 1);

// Why a name may deceive; empty when it does not.
export function deceptions(name) {
	const found = [];
	if (name.match(HIDDEN)) found.push('hidden characters');
	if (mixesScripts(name)) found.push('letters of several alphabets');
	if (STACKED.test(name)) found.push('stacked marks');
	return found;
}

// The name with each hidden character as its number, in a box of its own direction.
export function nameOf(name) {
	const parts = [];
	let at = 0;
	for (const match of name.matchAll(HIDDEN)) {
		parts.push(name.slice(at, match.index), h('span.hidden-character', codes(match[0])));
		at = match.index + match[0].length;
	}
	parts.push(name.slice(at));
	const reasons = deceptions(name);
	return [h('bdi.name', parts), reasons.length > 0 && h('span.badge.warning', `Deceptive name: ${reasons.join(', ')}`)];
}

// The same for a place that takes only text.
export const plainName = (name) => name.replace(HIDDEN, (found) => `[${codes(found)}]`);

export const selectorOf = (text) => text.match(/\.v2_([A-Za-z0-9_-]{22})_[A-Za-z0-9_-]{43}$/)?.[1];

// ---- Times ----------------------------------------------------------------------------------------------------------

const units = [['year', 31557600], ['month', 2629800], ['day', 86400], ['hour', 3600], ['minute', 60]];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const absolute = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

// As far from now as that is, by the clock of the server.
export function distance(time, now) {
	const seconds = (Date.parse(time) - now) / 1000;
	for (const [unit, length] of units)
		if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
	return seconds > 0 ? 'in less than a minute' : 'just now';
}

export const fullTime = (time) => absolute.format(new Date(time));

export const when = (time, now, never) => (time === null || time === undefined ? h('span.faint', never)
	: h('time', { dateTime: time, title: fullTime(time) }, distance(time, now)));

// ---- States ---------------------------------------------------------------------------------------------------------

const DAY = 86400000;

// All that can be said of a token, the most urgent first: [class, label].
export function statesOf(token, now, days = { expiring: 30, unused: 90 }) {
	const found = [];
	const expiry = token.expiresAt === null ? Infinity : Date.parse(token.expiresAt);
	const lastUse = Date.parse(token.seenAt ?? token.createdAt);
	if (expiry <= now) return [['error', 'Expired']];
	if (token.rotation?.state === 'grace') found.push(['notice', 'In grace']);
	if (token.rotation?.state === 'pending') found.push(['notice', 'Rotation pending']);
	if (expiry <= now + days.expiring * DAY) found.push(['warning', 'Expiring']);
	if (lastUse <= now - days.unused * DAY) found.push(['faint', `Unused for ${Math.floor((now - lastUse) / DAY)} days`]);
	return found.length > 0 ? found : [['good', 'Valid']];
}

export const badges = (token, now) => statesOf(token, now).map(([kind, label]) => h(`span.badge.${kind}`, label));
