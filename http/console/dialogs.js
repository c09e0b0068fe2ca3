// What is done to a token: made, shown, rotated, given another expiry, deleted.  Each in a dialog, which says in itself what went wrong.

import { createToken, deleteToken, endRotation, findToken, rotateToken, updateToken } from './api.js';
import { announce, field, h, newId, problem, select } from './dom.js';
import { badges, distance, fullTime, nameOf, plainName, when } from './text.js';

const DAY = 86400000;

// ---- A dialog -------------------------------------------------------------------------------------------------------

const openDialogs = new Set();

// The page below cannot be reached meanwhile; who closes it is back where he was.  Nothing of it stays.
function openDialog(title, fill, { closable = true } = {}) {
	const back = document.activeElement;
	const heading = h('h2', { id: newId('title'), tabIndex: -1 }, title);
	const body = h('div.body');
	const dialog = h('dialog', { 'aria-labelledby': heading.id, onclose: remove, oncancel: (event) => { if (!closable) event.preventDefault(); } },
		h('div.head', heading, closable && h('button.close', { type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, '×')), body);

	function remove() {
		openDialogs.delete(dialog);
		dialog.replaceChildren();
		dialog.remove();
		if (back?.isConnected) back.focus();
		else document.getElementById('main').focus();
	}
	openDialogs.add(dialog);
	document.body.append(dialog);
	fill(body, dialog, heading);
	dialog.showModal();
	(body.querySelector('[autofocus]') ?? heading).focus();
	return dialog;
}

export function closeDialogs() {
	for (const dialog of [...openDialogs]) dialog.close();
}

// A form that asks the server: its button is off meanwhile, and a refusal stands above the buttons.
function askingForm(parts, label, send, { kind = 'primary', close } = {}) {
	const place = h('div');
	const button = h(`button.${kind}`, { type: 'submit' }, label);
	const form = h('form', {
		noValidate: true,
		onsubmit: async (event) => {
			event.preventDefault();
			if (button.getAttribute('aria-disabled') === 'true') return;
			button.setAttribute('aria-disabled', 'true');
			form.setAttribute('aria-busy', 'true');
			place.replaceChildren();
			try {
				await send(button);
			} catch (error) {
				place.replaceChildren(problem(error));
			}
			button.removeAttribute('aria-disabled');
			form.removeAttribute('aria-busy');
		},
	}, parts, place, h('div.actions', close && h('button', { type: 'button', onclick: close }, 'Cancel'), button));
	return form;
}

const wrong = (message, detail) => Object.assign(new Error(message), { detail });

// ---- The secret, once -----------------------------------------------------------------------------------------------

function showSecret(title, token, explanation, done) {
	openDialog(title, (body, dialog) => {
		const box = h('textarea.secret', { readOnly: true, rows: 3, value: token.secret, autofocus: true, spellcheck: false, onfocus: () => box.select() });
		const said = h('p.help', { role: 'status' });
		const copy = h('button.primary', {
			type: 'button',
			onclick: async () => {
				try {
					await navigator.clipboard.writeText(box.value);
				} catch {
					box.focus();
					box.select();
					document.execCommand('copy');
				}
				said.textContent = 'Copied. Put it where it is needed, then empty the clipboard.';
			},
		}, 'Copy the secret');
		// at once, too: the event of closing comes a moment later
		const forget = () => {
			box.value = '';
			token.secret = null;
		};
		dialog.addEventListener('close', () => {
			forget();
			done();
		});
		body.append(
			h('p', 'The secret of ', nameOf(token.tokenName), '. ', h('strong', 'It is shown this once: nobody can look it up later, the server does not have it.')),
			field('Secret', box), h('p', explanation),
			h('div.actions', said, copy, h('button', { type: 'button', onclick: () => { forget(); dialog.close(); } }, 'I have stored it')));
	}, { closable: false });
}

// ---- Expiry ---------------------------------------------------------------------------------------------------------

// A choice of times; "never" has to be said twice.
function expiryChoice(choices, current) {
	const most = choices.maxLifetime === null ? Infinity : choices.maxLifetime * 1000;
	const options = [['30', 'In 30 days'], ['90', 'In 90 days'], ['365', 'In a year']].filter(([days]) => days * DAY <= most);
	const date = h('input', { type: 'datetime-local', hidden: true, 'aria-label': 'Expiry, in your own time' });
	const list = select([...options, ['date', 'At a time of your choice'], ...(most === Infinity ? [['never', 'Never']] : [])], options.at(Math.min(1, options.length - 1))?.[0] ?? 'date', {
		onchange: () => {
			date.hidden = list.value !== 'date';
			if (!date.hidden) date.focus();
		},
	});
	if (list.value === 'date') date.hidden = false;
	const local = (time) => new Date(time - new Date(time).getTimezoneOffset() * 60000).toISOString().slice(0, 16);
	if (current) date.value = local(Date.parse(current));
	let warned = false;
	return {
		parts: h('div', field('Expires', list, most === Infinity ? undefined : `This server lets no token live longer than ${Math.floor(most / DAY)} days.`), date),
		// undefined: not yet, and what is missing was said
		read(button, label) {
			if (list.value === 'never') {
				if (warned) return null;
				warned = true;
				button.textContent = label;
				button.classList.add('danger');
				list.addEventListener('change', () => { warned = false; }, { once: true });
				throw wrong('A token that never expires is valid until somebody deletes it.', 'Whoever finds its secret in years can still use it. Press the button once more if that is meant.');
			}
			if (list.value !== 'date') return new Date(Date.now() + Number(list.value) * DAY).toISOString();
			if (!date.value) throw wrong('No time is given.', 'Fill in date and time of the expiry.');
			return new Date(date.value).toISOString();
		},
	};
}

// ---- Create ---------------------------------------------------------------------------------------------------------

// Projects one by one, with what there is to choose from.
function projectChoice(choices) {
	const chosen = [];
	const known = choices.manages ?? choices.choices.projects;
	const options = h('datalist', { id: newId('projects') }, known.map((project) => h('option', { value: project })));
	const input = h('input', { type: 'text', list: options.id, autocomplete: 'off', maxLength: 100,
		onkeydown: (event) => {
			if (event.key !== 'Enter' || input.value === '') return;
			event.preventDefault();
			add();
		} });
	const chips = h('ul.chips', { 'aria-label': 'Chosen projects' });
	const all = h('input', { type: 'checkbox', checked: choices.manages === null, disabled: choices.manages !== null, id: newId('all'), onchange: show });
	const some = h('div', field('Add a project', h('span.joined', input, h('button', { type: 'button', onclick: add }, 'Add')), 'Its id, one at a time.'), chips, options);
	some.querySelector('label').htmlFor = input.id = newId('project');

	function add() {
		const name = input.value;
		if (name !== '' && !chosen.includes(name)) chosen.push(name);
		input.value = '';
		show();
		input.focus();
	}
	function show() {
		some.hidden = all.checked;
		chips.replaceChildren(...chosen.map((name, i) => h('li.chip', nameOf(name),
			h('button', { type: 'button', 'aria-label': `Remove ${plainName(name)}`, onclick: () => { chosen.splice(i, 1); show(); input.focus(); } }, '×'))));
	}
	if (choices.manages?.length === 1) chosen.push(choices.manages[0]);
	show();
	return {
		parts: h('fieldset', h('legend', 'Projects'), h('label.check', { htmlFor: all.id }, all, 'All projects, also those to come'), some),
		read() {
			if (all.checked) return ['*'];
			if (input.value !== '') add();
			if (chosen.length === 0) throw wrong('No project is chosen.', 'Add one, or take all projects.');
			return chosen;
		},
	};
}

function limitsChoice() {
	const number = (label, most, help) => { const input = h('input', { type: 'number', min: 1, max: most, inputMode: 'numeric' }); return [input, field(label, input, help)]; };
	const [limit, limitField] = number('Uses', 1000000, 'So many uses ...');
	const [period, periodField] = number('Seconds', 86400, '... in so many seconds.');
	const addresses = h('textarea', { rows: 2, spellcheck: false });
	const rotatable = h('input', { type: 'checkbox', id: newId('rotatable') });
	return {
		parts: h('details', h('summary', 'Limits and more'), h('div.pair', limitField, periodField),
			field('Allowed addresses', addresses, 'Networks such as 192.0.2.0/24, one a line. Empty: from anywhere.'),
			h('label.check', { htmlFor: rotatable.id }, rotatable, 'It may rotate itself')),
		read() {
			const wish = {};
			if (limit.value !== '' || period.value !== '') wish.rateLimit = { limit: Number(limit.value), period: Number(period.value) };
			const networks = addresses.value.split(/[\s,]+/).filter(Boolean);
			if (networks.length > 0) wish.allowedIps = networks;
			if (rotatable.checked) wish.rotatable = true;
			return wish;
		},
	};
}

export function openCreate(choices, changed) {
	openDialog('New token', (body, dialog) => {
		const name = h('input', { type: 'text', maxLength: 1000, autocomplete: 'off', required: true, autofocus: true });
		const type = select([['client', 'client: a server that asks for flags'], ['backend', 'backend: the same, by its newer name'], ['frontend', 'frontend: a browser or an app'], ['admin', 'admin: may do all this']], 'client', {
			onchange: () => { environmentField.hidden = type.value === 'admin'; },
		});
		const environments = choices.choices.environments.map(({ name: id, type: kind }) => [id, id === kind ? plainName(id) : `${plainName(id)} (${plainName(kind)})`]);
		const environment = select(environments, environments.some(([id]) => id === 'development') ? 'development' : environments[0]?.[0]);
		const environmentField = field('Environment', environment, 'A token is good for one environment, and cannot be moved to another.');
		const projects = projectChoice(choices);
		const expiry = expiryChoice(choices);
		const limits = limitsChoice();
		body.append(askingForm([field('Name', name, 'What it is for and who uses it: it is what events and lists show.'), field('Type', type), environmentField, projects.parts, expiry.parts, limits.parts],
			'Create the token', async (button) => {
				if (name.value === '') {
					name.setAttribute('aria-invalid', 'true');
					name.focus();
					throw wrong('The name is missing.', 'Give it a name of 1 to 1,000 characters.');
				}
				const wish = { tokenName: name.value, type: type.value, projects: projects.read(), ...limits.read() };
				if (type.value !== 'admin') wish.environment = environment.value;
				const expiresAt = expiry.read(button, 'Create a token that never expires');
				if (expiresAt !== null) wish.expiresAt = expiresAt;
				const token = await createToken(wish);
				dialog.close();
				changed();
				showSecret('The token is made', token, 'Give it to the program that needs it by a way that nobody else reads.', () => announce('Token made.'));
			}, { close: () => dialog.close() }));
	});
}

// ---- One token ------------------------------------------------------------------------------------------------------

const facts = (rows) => h('dl.facts', rows.filter(Boolean).map(([term, ...what]) => h('div', h('dt', term), h('dd', what))));

const lastUse = (token, now) => (token.seenAt === null ? 'No use is known.' : `Last used ${distance(token.seenAt, now)}, ${fullTime(token.seenAt)}.`);

// How it is now: two may be at work, and a list may be old.  Null: it is gone, and that was said.
async function fresh(selector, changed) {
	const found = await findToken(selector);
	if (found === null) {
		changed();
		throw wrong('There is no such token any more.', 'Somebody has deleted it, or it left your projects. The list was read again.');
	}
	return found;
}

export function openToken(token, now, choices, changed) {
	openDialog('Token', (body, dialog, heading) => {
		heading.replaceChildren(h('span', 'Token ', nameOf(token.tokenName)));
		show(token, now);

		function show(shown, at, message) {
			const rotation = shown.rotation?.state;
			const act = (label, open, kind = 'plain') => h(`button.${kind}`, { type: 'button', onclick: () => open(shown, at) }, label);
			body.replaceChildren(
				message ? h('p.done', message) : '',
				facts([
					['State', badges(shown, at)],
					['Selector', h('code', shown.secret)],
					['Type', shown.type],
					['Projects', shown.projects[0] === '*' ? 'all' : h('ul.chips', shown.projects.map((project) => h('li.chip', nameOf(project))))],
					['Environment', shown.environment === '*' ? 'all' : nameOf(shown.environment)],
					['Created', when(shown.createdAt, at), ` (${fullTime(shown.createdAt)})`, shown.createdBy ? [' by ', nameOf(shown.createdBy)] : ''],
					['Last use', shown.seenAt === null ? 'none known' : [when(shown.seenAt, at), ` (${fullTime(shown.seenAt)})`]],
					['Expires', shown.expiresAt === null ? 'never' : [when(shown.expiresAt, at), ` (${fullTime(shown.expiresAt)})`]],
					rotation === 'pending' && ['Rotation', `The new secret was not used yet. It lapses ${distance(shown.rotation.activateBy, at)}; the old one goes on until it is used.`],
					rotation === 'grace' && ['Rotation', `The new secret is in use. The old one ends ${distance(shown.rotation.oldUntil, at)}.`],
					shown.rateLimit && ['Limit', `${shown.rateLimit.limit} uses in ${shown.rateLimit.period} s, ${shown.rateLimit.burst} at once`],
					shown.allowedIps && ['Addresses', h('ul.chips', shown.allowedIps.map((network) => h('li.chip', h('code', network))))],
					shown.alias && ['Alias', nameOf(shown.alias)],
				]),
				choices.writable ? h('div.actions.left',
					choices.rotation && rotation === undefined && act('Rotate ...', rotate),
					rotation === 'pending' && act('Cancel the rotation ...', () => endOf(shown, 'cancel')),
					rotation === 'grace' && act('End the old secret ...', () => endOf(shown, 'finish')),
					act('Change expiry ...', expire), act('Delete ...', remove, 'danger')) : h('p.help', 'This server only reads: make changes on the primary.'));
		}

		async function again(message) {
			changed();
			try {
				const found = await fresh(token.secret, changed);
				show(found.token, found.now, message);
			} catch (error) {
				body.replaceChildren(problem(error));
			}
			announce(message);
			heading.focus();
		}

		// a question in the place of the token, and back
		function question(parts, label, send, options, back) {
			body.replaceChildren(askingForm(parts, label, send, { ...options, close: back }));
			(body.querySelector('[autofocus]') ?? heading).focus();
		}

		function rotate(shown, at) {
			const grace = select([['0', 'At once'], ['3600', 'An hour later'], ['86400', 'A day later'], ['604800', 'A week later']], '86400', { autofocus: true });
			const within = select([['1', 'A day'], ['7', '7 days'], ['30', '30 days']], '7');
			question([
				h('p', 'It gets a new secret, which can be used at once. The old one goes on until the new one is used for the first time, and for a time after that: nobody is locked out by a secret that did not arrive.'),
				h('p.note', lastUse(shown, at)),
				field('The old secret ends', grace, 'Counted from the first use of the new one.'),
				field('The new secret must be used within', within, 'Otherwise it lapses and the old one stays.'),
			], 'Rotate', async () => {
				await fresh(shown.secret, changed);
				const rotated = await rotateToken(shown.secret, { graceSeconds: Number(grace.value), activateBy: new Date(Date.now() + Number(within.value) * DAY).toISOString() });
				dialog.close();
				changed();
				showSecret('The new secret', rotated, 'The old secret is still valid. It ends after the first use of this one.', () => announce('Rotation begun.'));
			}, {}, () => show(shown, at));
		}

		function endOf(shown, how) {
			const finish = how === 'finish';
			question([h('p', finish ? 'The old secret is refused from then on, everywhere. Whoever still has it is locked out.' : 'The new secret is dropped. The old one stays as it is.')],
				finish ? 'End the old secret' : 'Cancel the rotation', async () => {
					await endRotation(shown.secret, how);
					await again(finish ? 'The old secret has ended.' : 'The rotation is cancelled.');
				}, { kind: finish ? 'danger' : 'primary' }, () => show(shown, now));
		}

		function expire(shown, at) {
			const expiry = expiryChoice(choices, shown.expiresAt);
			question([h('p', shown.expiresAt === null ? 'It never expires now.' : `It expires ${distance(shown.expiresAt, at)} now, ${fullTime(shown.expiresAt)}.`), expiry.parts],
				'Change the expiry', async (button) => {
					const expiresAt = expiry.read(button, 'Let it never expire');
					await fresh(shown.secret, changed);
					await updateToken(shown.secret, { expiresAt });
					await again('The expiry is changed.');
				}, {}, () => show(shown, at));
		}

		async function remove(shown) {
			body.replaceChildren(h('p', { role: 'status' }, 'Looking when it was last used ...'));
			let found;
			try {
				found = await fresh(shown.secret, changed);
			} catch (error) {
				body.replaceChildren(problem(error));
				return;
			}
			const { token: latest, now: at } = found;
			const recent = latest.seenAt !== null && at - Date.parse(latest.seenAt) < 7 * DAY;
			question([
				h('p', 'Delete ', nameOf(latest.tokenName), '? Its secret is refused at once, everywhere, and nothing brings it back.'),
				h(recent ? 'p.note.warning' : 'p.note', recent ? h('strong', lastUse(latest, at), ' Something is using it.') : lastUse(latest, at)),
			], 'Delete the token', async () => {
				await fresh(latest.secret, changed);
				await deleteToken(latest.secret);
				dialog.close();
				changed();
				announce('Token deleted.');
			}, { kind: 'danger' }, () => show(latest, at));
		}
	});
}
