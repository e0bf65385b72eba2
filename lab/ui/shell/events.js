// Events between the parts of a page.
const listeners = {};

export const listen = (name, heard) => (listeners[name] = listeners[name] || []).push(heard);

export const emit = (name, value) => (listeners[name] || []).forEach((heard) => heard(value));
