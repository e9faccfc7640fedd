export { readConfig, type HubConfig } from './config.js';
