// Does an answer keep to doc/openapi.json?  For any suite that has one in its hands:
//
//     import { checkAnswer } from '../openapi/check.mjs';
//     checkAnswer(method, path, status, headers, body);
//
// Throws an Error that names everything that is wrong.  Needs "npm ci" in this directory.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const file = fileURLToPath(new URL('../../doc/openapi.json', import.meta.url));
export const document = JSON.parse(readFileSync(file, 'utf8'));

export const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options', 'trace'];

// What every HTTP server says of the connection and of the bytes; anything else must be in the document.
const TRANSPORT = new Set(['server', 'date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length',
	'content-type', 'content-encoding', 'vary', 'accept-ranges']);
// A path that the document does not name is refused by these.
const ELSEWHERE = { 400: 'BadRequest', 401: 'Unauthorized', 403: 'Forbidden', 405: 'MethodNotAllowed', 413: 'TooLarge', 429: 'TooManyRequests', 503: 'Unavailable' };

const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: true });
addFormats(ajv);
// JSON Schema keeps schemas under $defs
const asJsonSchema = (schema) => JSON.parse(JSON.stringify(schema).replaceAll('"#/components/schemas/', '"document#/$defs/'));
ajv.addSchema({ $id: 'document', $defs: asJsonSchema(document.components.schemas) });

export const follow = (thing) =>
	thing?.$ref === undefined ? thing : thing.$ref.slice(2).split('/').reduce((at, key) => at[key], document);

const compiled = new Map();

function validator(schema) {
	if (!compiled.has(schema)) compiled.set(schema, ajv.compile(asJsonSchema(schema)));
	return compiled.get(schema);
}

export function schemaErrors(schema, value) {
	const validate = validator(schema);
	if (validate(value)) return [];
	return validate.errors.map((error) => `${error.instancePath || 'it'} ${error.message} ${JSON.stringify(error.params)}`);
}

// ---- Which of the document's paths, which operation, which response ---------------------------------------------------

// a target may name the server too
const pathOnly = (target) => {
	const path = target.replace(/^https?:\/\/[^/?#]*/i, '').split(/[?#]/)[0];
	return path.length > 1 ? path.replace(/\/$/, '') : path;
};

const patterns = Object.keys(document.paths).map((template) => ({
	template,
	pattern: new RegExp(`^${template.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{\w+\}/g, '[^/]+')}$`),
}));

// A path without braces comes before one with them.
export function findPath(target) {
	const path = pathOnly(target);
	return document.paths[path] ? path : patterns.find(({ pattern }) => pattern.test(path))?.template;
}

function findResponse(method, template, status) {
	if (template === undefined) {
		if (status === 404) return problemNamed('NotFoundError');
		return follow(document.components.responses[ELSEWHERE[status]]);
	}
	const item = document.paths[template];
	const operation = METHODS.includes(method) ? item[method] : undefined;
	// it answers whatever method, also those that OpenAPI knows no word for
	if (!operation && template === '/auth' && status !== 405) return follow(item.get.responses[status]);
	if (operation) return follow(operation.responses[status]);
	// not the path's: 405, or what comes before that is known
	return status === 405 ? follow(item['x-other-methods']) : follow(document.components.responses[ELSEWHERE[status]]);
}

// A refusal that no operation has, so that the document does not list it: there is nothing at the path.
function problemNamed(name) {
	const { Forbidden } = document.components.responses;
	const schema = Forbidden.content['application/json'].schema;
	notFound ??= { ...Forbidden, content: { 'application/json': { schema: { ...schema, properties: { name: { enum: [name] } } } } } };
	return notFound;
}
let notFound;

// ---- One answer -------------------------------------------------------------------------------------------------------

const seen = new Map();

// How many answers of each documented status were checked: "GET /health 200" -> 3.
export const coverage = () => new Map(seen);

// Every status that the document says can be answered, as coverage() names them.
export function documented() {
	const list = [];
	for (const [template, item] of Object.entries(document.paths)) {
		for (const method of METHODS) {
			for (const status of Object.keys(item[method]?.responses ?? {})) list.push(`${method.toUpperCase()} ${template} ${status}`);
		}
		if (item['x-other-methods']) list.push(`other ${template} 405`);
	}
	return list;
}

// name -> values; takes a Headers, pairs, or an object.
function readHeaders(headers) {
	const pairs = Array.isArray(headers) ? headers : typeof headers?.entries === 'function' ? [...headers.entries()] : Object.entries(headers ?? {});
	const found = new Map();
	for (const [name, value] of pairs) found.set(name.toLowerCase(), [...(found.get(name.toLowerCase()) ?? []), ...[value].flat().map(String)]);
	return found;
}

function headerProblems(response, headers) {
	const problems = [];
	const known = new Map(Object.entries(response.headers ?? {}).map(([name, header]) => [name.toLowerCase(), follow(header)]));
	for (const [name, header] of known) {
		const values = headers.get(name) ?? [];
		if (values.length === 0 && header.required) problems.push(`the header ${name} is missing`);
		if (values.length > 1) problems.push(`the header ${name} is there ${values.length} times`);
		for (const value of values) {
			const read = header.schema.type === 'integer' ? Number(value) : value;
			problems.push(...schemaErrors(header.schema, read).map((text) => `the header ${name}, ${JSON.stringify(value)}: ${text}`));
		}
	}
	for (const name of headers.keys()) {
		if (!known.has(name) && !TRANSPORT.has(name)) problems.push(`the header ${name} is not in the document`);
	}
	return problems;
}

function bodyProblems(response, method, headers, bytes) {
	const text = Buffer.isBuffer(bytes) || bytes instanceof Uint8Array ? Buffer.from(bytes).toString('utf8') : bytes ?? '';
	if (method === 'head' || response.content === undefined)
		return text === '' ? [] : [`there is a body: ${text.slice(0, 200)}`];
	const [type, ...parameters] = (headers.get('content-type')?.[0] ?? '').toLowerCase().split(/\s*;\s*/);
	const media = response.content[type];
	if (media === undefined) return [`the content type ${JSON.stringify(type)} is not in the document`];
	const problems = parameters.filter((parameter) => parameter !== 'charset=utf-8' && !(type === 'text/plain' && parameter === 'version=0.0.4')).map((parameter) => `the content type has ${parameter}`);
	try {
		return [...problems, ...schemaErrors(media.schema, type === 'application/json' ? JSON.parse(text) : text).map((error) => `the body: ${error}`)];
	} catch (error) {
		return [...problems, `the body is not JSON (${error.message}): ${text.slice(0, 200)}`];
	}
}

// body: text or bytes, after any Content-Encoding was undone.
export function checkAnswer(method, path, status, headers, body) {
	const name = method.toLowerCase();
	const template = findPath(path);
	const response = findResponse(name, template, status);
	const told = `${method} ${template ?? 'a path elsewhere'} answered ${status}`;
	if (response === undefined) throw new Error(`${told}, which is not in doc/openapi.json`);
	const read = readHeaders(headers);
	const problems = [...headerProblems(response, read), ...bodyProblems(response, name, read, body)];
	if (problems.length > 0) throw new Error(`${told}, and against doc/openapi.json:\n${problems.join('\n')}`);
	const isListed = template !== undefined && document.paths[template][name]?.responses[status] !== undefined;
	const key = template === undefined ? `elsewhere ${status}` : `${isListed ? method.toUpperCase() : 'other'} ${template} ${status}`;
	seen.set(key, (seen.get(key) ?? 0) + 1);
}
