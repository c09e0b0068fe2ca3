// How is the server asked?  The key lives here, in one variable, as long as the session does, and travels as a header.

let key = null;
let ended = () => {};

// Everything is below the place of this page, whatever prefix a proxy gives it.
const base = new URL('../', import.meta.url);

// Called when the session is over: with a reason, or none.
export const onEnd = (callback) => { ended = callback; };

export function begin(text) { key = text; }

export function end(reason) {
	key = null;
	ended(reason);
}

export const isOpen = () => key !== null;

export class Refusal extends Error {
	constructor(status, message, detail) {
		super(message);
		this.status = status;
		this.detail = detail;
	}
}

const seconds = (response) => Number(response.headers.get('Retry-After')) || 0;

async function toRefusal(response) {
	const body = await response.json().catch(() => null);
	const wait = seconds(response) > 0 ? ` Try again in ${seconds(response)} s.` : '';
	return new Refusal(response.status, body?.message ?? `The server answered ${response.status}.`, (body?.details?.[0]?.message ?? '') + wait);
}

// ask('GET', 'api/admin/tokens', { limit: 50 }): the answer as JSON, or null; throws a Refusal.
export async function ask(method, path, query = {}, body = undefined, signal = undefined) {
	if (key === null) throw new Refusal(0, 'The session has ended.', 'Sign in again.');
	const url = new URL(path, base);
	for (const [name, value] of Object.entries(query)) if (value !== '' && value !== null && value !== undefined) url.searchParams.set(name, value);
	// blanks as %20: in this API a plus stands for itself
	url.search = url.search.replaceAll('+', '%20');
	const headers = { Authorization: key, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) };
	const asked = key;
	let response;
	try {
		response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer', signal });
	} catch (error) {
		if (error.name === 'AbortError') throw error;
		throw new Refusal(0, 'The server does not answer.', 'Nothing is known of what was asked: look before you ask for a change again.');
	}
	if (response.ok) return response.headers.get('Content-Type')?.startsWith('application/json') ? response.json() : null;
	const refusal = await toRefusal(response);
	// also in the middle of something: what was begun with a key that is refused cannot go on
	if (response.status === 401 && key === asked) end('The key was refused: its token was deleted or has expired, its secret was replaced, or it may not be used from here.');
	throw refusal;
}

const segment = encodeURIComponent;

export const searchTokens = (criteria, signal) => ask('GET', 'api/admin/tokens', criteria, undefined, signal);
export const listEvents = (criteria, signal) => ask('GET', 'api/admin/token-events', criteria, undefined, signal);
export const getChoices = () => ask('GET', 'api/admin/token-choices');
export const getFindings = () => ask('GET', 'api/admin/doctor');
export const createToken = (wish) => ask('POST', 'api/admin/api-tokens', {}, wish);
export const updateToken = (selector, changes) => ask('PUT', `api/admin/api-tokens/${segment(selector)}`, {}, changes);
export const deleteToken = (selector) => ask('DELETE', `api/admin/api-tokens/${segment(selector)}`);
export const rotateToken = (selector, wish) => ask('POST', `api/admin/api-tokens/${segment(selector)}/rotate`, {}, wish);
export const endRotation = (selector, how) => ask('POST', `api/admin/api-tokens/${segment(selector)}/rotate/${how}`);

// As it is now, with the time of the server; null when there is none any more.
export async function findToken(selector) {
	const { tokens, now } = await searchTokens({ selector, limit: 1 });
	return tokens.length === 0 ? null : { token: tokens[0], now: Date.parse(now) };
}
