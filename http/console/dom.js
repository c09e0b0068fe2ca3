// How is a piece of the page made?  Never from markup: text goes in as text, whatever it holds.

// h('button.primary', { onclick }, 'Save'): an element with classes, properties or attributes, and what is in it.
export function h(name, ...rest) {
	const [tag, ...classes] = name.split('.');
	const element = document.createElement(tag);
	if (classes.length > 0) element.className = classes.join(' ');
	const properties = rest.length > 0 && isProperties(rest[0]) ? rest.shift() : {};
	for (const [key, value] of Object.entries(properties)) {
		if (value === undefined || value === null || value === false) continue;
		if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
		else if (key in element && !key.startsWith('aria') && !['form', 'list', 'role', 'for'].includes(key)) element[key] = value;
		else element.setAttribute(key, value === true ? '' : value);
	}
	element.append(...rest.flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false));
	return element;
}

const isProperties = (part) => typeof part === 'object' && part !== null && !(part instanceof Node) && !Array.isArray(part);

let number = 0;

export const newId = (word) => `${word}-${++number}`;

// A label, its control, and a line of help that belongs to it.
export function field(label, control, help) {
	control.id ||= newId('field');
	const hint = help && h('p.help', { id: newId('help') }, help);
	if (hint) control.setAttribute('aria-describedby', hint.id);
	return h('div.field', h('label', { htmlFor: control.id }, label), control, hint);
}

export function select(options, value, properties = {}) {
	const element = h('select', properties, options.map(([key, label]) => h('option', { value: key }, label)));
	element.value = value;
	return element;
}

// Said to who cannot see that something changed.
export function announce(text) {
	document.getElementById('announcer').textContent = text;
}

// What went wrong, in the place where it did.
export const problem = (error, again) => h('div.problem', { role: 'alert' },
	h('p', error.message), error.detail && h('p.detail', error.detail),
	again && h('button.small', { type: 'button', onclick: again }, 'Try again'));
