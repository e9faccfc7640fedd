export { TaskRunner, type TaskRunnerOptions } from './runner.js';
export type { QueuedTask, TaskContext, TaskHandler, TaskLock, TaskRequest, Tasks } from './types.js';
