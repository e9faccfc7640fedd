export { readConfig, type HubConfig } from './config.js';
export { createHub, type Hub } from './hub.js';
