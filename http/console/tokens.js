// Which tokens are there?  The list: searched, sorted and cut into pages by the server.

import { searchTokens } from './api.js';
import { announce, field, h, problem, select } from './dom.js';
import { openCreate, openToken } from './dialogs.js';
import { badges, nameOf, plainName, selectorOf, when } from './text.js';

const LIMIT = 50;
const NOTHING = { search: '', state: '', days: '', type: '', project: '', environment: '', sort: '' };
const STATES = [['', 'Any'], ['valid', 'Valid'], ['expiring', 'Expiring within ...'], ['expired', 'Expired'], ['pending', 'Rotation pending'], ['grace', 'In grace'], ['unused', 'Unused for ...']];

// A search box takes a name, a selector, or a whole secret that somebody has found: of that only the selector is sent.
function searchOf(text) {
	const selector = selectorOf(text.trim());
	if (selector) return { selector };
	if (/^[A-Za-z0-9_-]{22}$/.test(text.trim()) || /^utok[A-Za-z0-9]{3,}$/.test(text.trim())) return { selector: text.trim() };
	return { name: text };
}

export function tokensView(choices) {
	const wanted = { ...NOTHING };
	let places = [''];	// where each page begins, up to the one that is shown
	let sort = '';
	let next = null;
	let asking = null;

	// ---- What is looked for ----

	const searchBox = h('input', { type: 'search', placeholder: 'Name, selector or secret', autocomplete: 'off', spellcheck: false });
	const state = select(STATES, '', { onchange: () => { days.parentElement.hidden = !hasDays(); look(); } });
	const days = h('input', { type: 'number', min: 1, max: 3650, value: '30', onchange: look });
	const type = select([['', 'Any'], ...['client', 'backend', 'frontend', 'admin'].map((name) => [name, name])], '', { onchange: look });
	const projects = h('datalist', { id: 'known-projects' }, (choices.manages ?? choices.choices.projects).map((project) => h('option', { value: project })));
	const project = h('input', { type: 'text', list: 'known-projects', placeholder: 'Any', autocomplete: 'off', onchange: look });
	const environment = select([['', 'Any'], ...choices.choices.environments.map(({ name }) => [name, plainName(name)]), ['*', 'all (admin tokens)']], '', { onchange: look });
	const filters = h('form.filters', { role: 'search', 'aria-label': 'Tokens', onsubmit: (event) => { event.preventDefault(); look(); } },
		field('Search', searchBox), field('State', state), field('Days', days), field('Type', type), field('Project', project), projects, field('Environment', environment),
		h('div.buttons', h('button', { type: 'submit' }, 'Search'), h('button.plain', { type: 'button', onclick: clear }, 'Clear')));
	days.parentElement.hidden = true;
	const hasDays = () => state.value === 'expiring' || state.value === 'unused';

	let typing;
	searchBox.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(look, 300); });

	function clear() {
		searchBox.value = project.value = '';
		state.value = type.value = environment.value = '';
		days.parentElement.hidden = true;
		wanted.sort = '';
		look();
		searchBox.focus();
	}

	function look() {
		clearTimeout(typing);
		// a secret does not stay where others may read it
		const selector = selectorOf(searchBox.value.trim());
		if (selector) searchBox.value = selector;
		Object.assign(wanted, { search: searchBox.value, state: state.value, days: hasDays() ? days.value : '', type: type.value, project: project.value, environment: environment.value });
		places = [''];
		return load();
	}

	const isFiltered = () => Object.entries(wanted).some(([name, value]) => value !== '' && name !== 'sort');

	// ---- The list ----

	const caption = h('caption.unseen', 'Tokens');
	const rows = h('tbody');
	const columns = [['name', 'Name'], ['', 'Type'], ['', 'Projects'], ['', 'Environment'], ['created', 'Created'], ['', 'Last use'], ['expires', 'Expires'], ['', 'State']];
	const heads = columns.map(([name, label]) => h('th', { scope: 'col' }, name === '' ? label : h('button.sort', { type: 'button', onclick: () => sortBy(name) }, label)));
	const table = h('table.tokens', caption, h('thead', h('tr', heads)), rows);
	const place = h('div');
	const status = h('p.status');
	const back = h('button', { type: 'button', onclick: () => turn(-1) }, 'Previous page');
	const forth = h('button', { type: 'button', onclick: () => turn(1) }, 'Next page');
	const made = h('button.primary', { type: 'button', onclick: () => openCreate(choices, load) }, 'New token');

	function sortBy(name) {
		wanted.sort = sort === name ? `-${name}` : sort === `-${name}` ? name : name === 'created' ? '-created' : name;
		places = [''];
		load();
	}

	function showSort() {
		columns.forEach(([name], i) => {
			const direction = name !== '' && sort === name ? 'ascending' : name !== '' && sort === `-${name}` ? 'descending' : null;
			if (direction) heads[i].setAttribute('aria-sort', direction);
			else heads[i].removeAttribute('aria-sort');
		});
	}

	function turn(by) {
		if (by > 0) places.push(next);
		else places.pop();
		load();
		document.getElementById('main').scrollIntoView();
	}

	const cell = (label, ...what) => h('td', { 'data-label': label }, h('div', what));

	const rowOf = (token, now) => h('tr',
		h('th', { scope: 'row' }, h('button.link', { type: 'button', onclick: () => openToken(token, now, choices, load) }, nameOf(token.tokenName)), h('code.selector', token.secret)),
		cell('Type', token.type),
		cell('Projects', token.projects[0] === '*' ? h('span.faint', 'all') : [nameOf(token.projects[0]), token.projects.length > 1 && h('span.faint', ` and ${token.projects.length - 1} more`)]),
		cell('Environment', token.environment === '*' ? h('span.faint', 'all') : nameOf(token.environment)),
		cell('Created', when(token.createdAt, now), token.createdBy && h('span.by', 'by ', nameOf(token.createdBy))),
		cell('Last use', when(token.seenAt, now, 'never')),
		cell('Expires', when(token.expiresAt, now, 'never')),
		cell('State', badges(token, now)));

	// A page of the server may be short and not the last one: it has looked at enough.  So ask on, and say how far it is.
	async function load() {
		asking?.abort();
		const mine = asking = new AbortController();
		const { search, ...criteria } = wanted;
		const found = [];
		let after = places.at(-1), asked = 0, now = Date.now();
		const stop = h('button.small', { type: 'button', onclick: () => mine.abort() }, 'Stop');
		const progress = h('p.progress', h('progress', { 'aria-label': 'Searching' }), h('span'), stop);
		table.setAttribute('aria-busy', 'true');
		try {
			do {
				const page = await searchTokens({ ...criteria, ...(search === '' ? {} : searchOf(search)), limit: LIMIT - found.length, after, sort: after === '' ? criteria.sort : sort }, mine.signal);
				found.push(...page.tokens);
				({ next, sort } = page);
				after = next;
				now = Date.parse(page.now);
				if (++asked > 2 && found.length < LIMIT && next !== null) {
					progress.children[1].textContent = ` Searching: ${found.length} found among ${(asked * 5000).toLocaleString('en')} tokens so far `;
					if (!progress.isConnected) place.replaceChildren(progress);
				}
			} while (next !== null && found.length < LIMIT);
			show(found, now);
		} catch (error) {
			if (mine !== asking) return;
			if (error.name === 'AbortError') show(found, now);
			else {
				rows.replaceChildren();
				place.replaceChildren(problem(error, load));
				status.textContent = '';
			}
		}
		table.removeAttribute('aria-busy');
	}

	function show(found, now) {
		rows.replaceChildren(...found.map((token) => rowOf(token, now)));
		table.hidden = found.length === 0;
		place.replaceChildren(...(found.length === 0 ? [emptyState()] : []));
		back.disabled = places.length === 1;
		forth.disabled = next === null;
		const first = (places.length - 1) * LIMIT + 1;
		status.textContent = found.length === 0 ? '' : `Tokens ${first.toLocaleString('en')} to ${(first + found.length - 1).toLocaleString('en')}${next === null ? ', the last ones' : ''}${sort.endsWith('expires') ? '; those that never expire are left out' : ''}`;
		announce(found.length === 0 ? 'No tokens found.' : `${status.textContent}.`);
		showSort();
	}

	function emptyState() {
		if (wanted.sort.endsWith('expires'))
			return h('div.empty', h('h2', 'None of these tokens expires'), h('p', 'Sorted by expiry, tokens that never expire are left out.'),
				h('button', { type: 'button', onclick: () => { wanted.sort = ''; load(); } }, 'Back to the usual order'));
		if (isFiltered())
			return h('div.empty', h('h2', 'No token matches'), h('p', 'A name is found by how it begins. Try fewer filters.'), h('button', { type: 'button', onclick: clear }, 'Clear the filters'));
		return h('div.empty', h('h2', 'There are no tokens yet'), h('p', 'A token lets a program in: it gets a secret once, and is found here by its name ever after.'),
			choices.writable && h('button.primary', { type: 'button', onclick: () => openCreate(choices, load) }, 'Make the first token'));
	}

	load();
	return h('section', { 'aria-labelledby': 'tokens-title' },
		h('div.title', h('h1', { id: 'tokens-title' }, 'Tokens'), choices.writable && made), filters, place,
		h('div.wide', { tabIndex: 0, role: 'region', 'aria-label': 'List of tokens' }, table),
		h('nav.pages', { 'aria-label': 'Pages' }, status, back, forth));
}
