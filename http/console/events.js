// What happened to tokens?  The newest first.

import { listEvents } from './api.js';
import { announce, field, h, problem, select } from './dom.js';
import { nameOf, selectorOf, when, fullTime } from './text.js';

const LABELS = {
	'api-token-created': 'Created', 'api-token-updated': 'Changed', 'api-token-deleted': 'Deleted', 'api-token-expiring': 'About to expire',
	'api-token-rotated': 'Rotated', 'api-token-rotation-activated': 'New secret used', 'api-token-rotation-finished': 'Old secret ended', 'api-token-rotation-cancelled': 'Rotation cancelled',
};

const shown = (value) => (value === null || value === undefined ? 'none' : /^\d{4}-\d\d-\d\dT/.test(value) ? fullTime(value) : typeof value === 'string' ? value : JSON.stringify(value));

// What is not the same before and after; of a new or deleted token what it was.
function changesOf({ data, preData }) {
	if (data === null || preData === null) {
		const { type, environment, projects } = data ?? preData ?? {};
		return [type, environment, projects?.join(', ')].filter(Boolean).map((text, i) => [i > 0 && ' · ', nameOf(text)]);
	}
	return Object.keys({ ...preData, ...data }).filter((name) => name !== 'seenAt' && JSON.stringify(data[name]) !== JSON.stringify(preData[name]))
		.map((name) => h('div', `${name}: `, nameOf(shown(preData[name])), ' → ', nameOf(shown(data[name]))));
}

export function eventsView() {
	let next = null;
	const selector = h('input', { type: 'search', autocomplete: 'off', spellcheck: false, placeholder: 'Any token' });
	const type = select([['', 'Any event'], ...Object.entries(LABELS)], '', { onchange: () => load(false) });
	const rows = h('tbody');
	const place = h('div');
	const older = h('button', { type: 'button', onclick: () => load(true) }, 'Older events');
	const table = h('table.events', h('caption.unseen', 'Events, the newest first'), h('thead', h('tr', ['When', 'What', 'Token', 'By', 'Details'].map((label) => h('th', { scope: 'col' }, label)))), rows);

	const rowOf = (event) => h('tr',
		h('td', { 'data-label': 'When' }, h('div', when(event.at, Date.now()))),
		h('th', { scope: 'row' }, LABELS[event.type] ?? event.type),
		h('td', { 'data-label': 'Token' }, h('div', nameOf(event.tokenName), h('code.selector', event.selector))),
		h('td', { 'data-label': 'By' }, h('div', nameOf(event.actor), event.actorSelector && h('code.selector', event.actorSelector))),
		h('td', { 'data-label': 'Details' }, h('div', changesOf(event))));

	async function load(more) {
		const found = selectorOf(selector.value.trim());
		if (found) selector.value = found;
		if (!more) rows.replaceChildren();
		older.disabled = true;
		place.replaceChildren(h('p.progress', h('progress', { 'aria-label': 'Reading events' })));
		let count = 0, after = more ? next : '';
		try {
			do {
				const page = await listEvents({ limit: 50, selector: selector.value.trim(), type: type.value, after });
				next = after = page.next;
				count += page.events.length;
				rows.append(...page.events.map(rowOf));
			} while (next !== null && count < 25);
			place.replaceChildren(...(rows.children.length === 0 ? [h('div.empty', h('h2', 'No events'), h('p', 'Nothing that matches has happened, or it was purged.'))] : []));
			announce(`${count} events.`);
		} catch (error) {
			place.replaceChildren(problem(error, () => load(more)));
		}
		table.hidden = rows.children.length === 0;
		older.disabled = next === null;
	}

	load(false);
	return h('section', { 'aria-labelledby': 'events-title' }, h('div.title', h('h1', { id: 'events-title' }, 'Events')),
		h('form.filters', { role: 'search', 'aria-label': 'Events', onsubmit: (event) => { event.preventDefault(); load(false); } },
			field('Token', selector, 'A selector.'), field('Event', type), h('div.buttons', h('button', { type: 'submit' }, 'Search'))),
		h('div.wide', { tabIndex: 0, role: 'region', 'aria-label': 'List of events' }, table), place, h('nav.pages', { 'aria-label': 'More events' }, older));
}
