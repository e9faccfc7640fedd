/* Threads that complete asynchronous reads. They are started when reads wait and no thread is free. */
#include <pthread.h>
#include <stdlib.h>

#include "lab.h"

#define MOST_THREADS 32

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wakeup = PTHREAD_COND_INITIALIZER;
static struct read_request *first, **last = &first;
static pthread_t threads[MOST_THREADS];
static int thread_count, idle_count, waiting_count;
static bool stopping;

static void *work(void *unused)
{
  pthread_mutex_lock(&lock);
  for (;;) {
    while (first == NULL && !stopping) {
      idle_count++;
      pthread_cond_wait(&wakeup, &lock);
      idle_count--;
    }
    if (first == NULL)
      break;
    struct read_request *request = first;
    first = request->next;
    if (first == NULL)
      last = &first;
    waiting_count--;
    pthread_mutex_unlock(&lock);
    complete(request);
    free(request);
    pthread_mutex_lock(&lock);
  }
  pthread_mutex_unlock(&lock);
  return unused;
}

VixError submit(struct read_request *request)
{
  VixError error = VIX_OK;
  request->next = NULL;
  pthread_mutex_lock(&lock);
  if (idle_count <= waiting_count && thread_count < MOST_THREADS &&
      pthread_create(&threads[thread_count], NULL, work, NULL) == 0)
    thread_count++;
  if (thread_count == 0) {
    error = VIX_E_OUT_OF_MEMORY;
  } else {
    *last = request;
    last = &request->next;
    waiting_count++;
    pthread_cond_signal(&wakeup);
  }
  pthread_mutex_unlock(&lock);
  if (error != VIX_OK)
    free(request);
  return error;
}

void stop_pool(void)
{
  pthread_mutex_lock(&lock);
  stopping = true;
  pthread_cond_broadcast(&wakeup);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < thread_count; i++)
    pthread_join(threads[i], NULL);
  thread_count = 0;
  stopping = false;
}
