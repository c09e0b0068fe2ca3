#!/usr/bin/env node
// Replays requests recorded on a real Unleash server and compares the answers.
//
//     replay.mjs --base URL --admin SECRET [--group NAME]... [--method NAME]... [--differences FILE]... [-v] cases.jsonl...
//
// Every case of the chosen groups is sent, in the order recorded, because later cases use what earlier ones made; --method
// only narrows what is counted.  Words of messages are not compared.  t/golden/README.md tells what is.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { asJson, send } from './lib.mjs';

const TOKEN_FIELDS = ['tokenName', 'type', 'environment', 'project', 'projects', 'expiresAt', 'alias'];
const VALID_FIELDS = ['token', 'type', 'projects', 'environment'];

// ---- Comparing ------------------------------------------------------------------------------------------------------

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// Text that is equal for equal values, whatever the order of their keys.
function canonical(value) {
	if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
	if (!isObject(value)) return JSON.stringify(value) ?? 'null';
	return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`;
}

const pick = (token, fields) => Object.fromEntries(fields.map((field) => [field, token[field] ?? null]));
const asClient = (token) => (token.type === 'backend' ? { ...token, type: 'client' } : token);
const sorted = (tokens) => tokens.map(canonical).sort();
const same = (a, b) => canonical(a) === canonical(b);

// whole: the answer lists all tokens, so there may be more than were recorded.
function sameTokens(recorded, got, whole, renamed) {
	if (recorded.length > 0 && 'token' in recorded[0]) {
		const theirs = recorded.map((token) => ({ ...token, token: renamed.get(token.token) ?? token.token }));
		const shape = (token) => asClient(pick(token, VALID_FIELDS));
		return same(sorted(got.map(shape)), sorted(theirs.map(shape)));
	}
	const shape = (token) => asClient(pick(token, TOKEN_FIELDS));
	const mine = sorted(got.map(shape)), theirs = sorted(recorded.map(shape));
	return whole ? theirs.every((token) => mine.includes(token)) : same(mine, theirs);
}

function sameSuccess(recorded, got, whole, renamed) {
	if (recorded === undefined || recorded === null) return true;
	if (!isObject(recorded)) return same(recorded, got);
	if (!isObject(got)) return false;
	if ('tokens' in recorded)
		return Array.isArray(got.tokens) && sameTokens(recorded.tokens, got.tokens, whole, renamed);
	return same(pick(recorded, TOKEN_FIELDS), pick(got, TOKEN_FIELDS));
}

function sameRefusal(recorded, got) {
	if (recorded === undefined || recorded === null) return true;
	if (!isObject(got) || !('message' in got)) return false;
	return !isObject(recorded) || !('name' in recorded) || (got.name === recorded.name && 'details' in got);
}

// What is wrong with the answer; nothing when it is equal.
function fault({ id, request, response }, status, text, difference, renamed) {
	const wanted = [difference?.status ?? response.status].flat();
	const recorded = asJson(response.body), got = asJson(text);
	const shown = `${text.slice(0, 200)}, recorded ${String(response.body).slice(0, 160)}`;
	if (!wanted.includes(status)) return `status ${status}, expected ${wanted.join(' or ')}`;
	if (status !== response.status)
		return status < 400 || (isObject(got) && 'message' in got) ? '' : 'refusal without a message';
	if (difference !== undefined) return '';
	if (status < 300) {
		const whole = request.path.replace(/\/?(\?.*)?$/, '').endsWith('/api-tokens');
		return sameSuccess(recorded, got, whole, renamed) ? '' : `body ${shown}`;
	}
	if (status < 400) return '';
	return sameRefusal(recorded, got) ? '' : `refusal ${shown}`;
}

// ---- Sending --------------------------------------------------------------------------------------------------------

const fill = (text, variables) => text.replace(/\$\{(\w+)\}/g, (whole, name) => variables[name] ?? whole);

function bodyOf(request, variables) {
	if ('body_base64' in request) return Buffer.from(request.body_base64, 'base64');
	if ('body_gen' in request) {
		const { prefix, unit, count, suffix } = request.body_gen;
		return prefix + unit.repeat(count) + suffix;
	}
	return typeof request.body === 'string' ? fill(request.body, variables) : undefined;
}

async function ask(base, { request, template }, variables) {
	const filled = { ...request, ...template };
	const pairs = Array.isArray(filled.headers) ? filled.headers : Object.entries(filled.headers);
	const headers = pairs.map(([name, value]) => [name, fill(value, variables)]);
	try {
		const { host } = new URL(base);
		if (!headers.some(([name]) => name.toLowerCase() === 'host')) headers.unshift(['Host', host]);
		const answer = await send(request.method, fill(filled.path, variables), headers, bodyOf(filled, variables), base);
		return [answer.status, answer.text];
	} catch (error) {
		return [0, error.message];
	}
}

// An answer's field gives a placeholder its value, and tells our secret for the recorded one.
function capture({ capture: wanted, response }, text, variables, renamed) {
	const got = asJson(text);
	for (const [name, field] of Object.entries(wanted ?? {})) {
		if (!isObject(got) || !(field in got)) continue;
		variables[name] = got[field];
		renamed.set(asJson(response.body)?.[field], got[field]);
	}
}

// ---- The run --------------------------------------------------------------------------------------------------------

export async function replay({ base, admin, files, groups = [], methods = [], differences = [], verbose = false }) {
	const expected = Object.assign({}, ...differences.map((name) => JSON.parse(readFileSync(name, 'utf8'))));
	const cases = files
		.flatMap((name) => readFileSync(name, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line)))
		.filter((one) => 'id' in one)
		.sort((a, b) => (a.order ?? 0) - (b.order ?? 0));
	const variables = {
		admin, be: '*:development.golden-backend-secret', fe: '*:development.golden-frontend-secret' };
	const renamed = new Map([['*:*.golden-admin-secret', admin]]);
	const count = { equal: 0, counted: 0 };
	for (const one of cases) {
		if (groups.length > 0 && !groups.includes(one.group)) continue;
		const [status, text] = await ask(base, one, variables);
		capture(one, text, variables, renamed);
		if (expected[one.id]?.skip || (methods.length > 0 && !methods.includes(one.request.method))) continue;
		const wrong = fault(one, status, text, expected[one.id], renamed);
		count.counted++;
		if (wrong === '') count.equal++;
		else if (verbose) console.log(`${one.id.padEnd(16)} ${one.note.slice(0, 60)}: ${wrong}`);
	}
	return count;
}

function readArguments(args) {
	const options = { files: [], groups: [], methods: [], differences: [], verbose: false };
	const lists = { '--group': 'groups', '--method': 'methods', '--differences': 'differences' };
	const values = { '--base': 'base', '--admin': 'admin' };
	for (let i = 0; i < args.length; i++) {
		if (args[i] === '-v') options.verbose = true;
		else if (args[i] in lists) options[lists[args[i]]].push(args[++i]);
		else if (args[i] in values) options[values[args[i]]] = args[++i];
		else if (args[i].startsWith('-')) throw new Error(`unknown argument ${args[i]}`);
		else options.files.push(args[i]);
	}
	if (!options.base || !options.admin || options.files.length === 0)
		throw new Error('--base, --admin and a file of cases are needed');
	return options;
}

const here = fileURLToPath(import.meta.url);
if (process.argv[1] && path.resolve(process.argv[1]) === here) {
	const options = readArguments(process.argv.slice(2));
	if (options.differences.length === 0)
		options.differences = [path.resolve(path.dirname(here), '../golden/differences.json')];
	const { equal, counted } = await replay(options);
	console.log(`${equal} passed, ${counted - equal} failed`);
	process.exitCode = counted > 0 && equal === counted ? 0 : 1;
}
