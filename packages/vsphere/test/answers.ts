import type { IncomingMessage, ServerResponse } from 'node:http';

/** What a call is answered with: values, a fault, or something that no vCenter would send. */
export type Answer =
  | { readonly values: readonly string[]; readonly setCookie?: string }
  | { readonly fault: string; readonly message?: string; readonly detail?: string }
  | { readonly raw: string | Buffer; readonly status?: number; readonly headers?: Record<string, string> }
  | { readonly act: (request: IncomingMessage, response: ServerResponse) => void };

const NAMESPACES =
  'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';

export function values(...xml: string[]): Answer {
  return { values: xml };
}

export function fault(name: string, message = `${name} happened`, fields = ''): Answer {
  return {
    fault: name,
    message,
    detail: `<${name}Fault xmlns="urn:vim25" xsi:type="${name}">${fields}</${name}Fault>`,
  };
}

/** Ends the connection without an answer. */
export const drop: Answer = { act: (request) => request.socket.destroy() };

/** Keeps the caller waiting. */
export const hang: Answer = { act: () => undefined };

export function moref(name: string, type: string, value: string): string {
  return `<${name} type="${type}">${value}</${name}>`;
}

/** A property value: `val('xsd:string', 'x')`. */
export function val(type: string, content: string): string {
  return `<val xsi:type="${type}">${content}</val>`;
}

/** Sends the answer to a call of a method. */
export function sendAnswer(
  method: string,
  answer: Answer,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if ('act' in answer) {
    answer.act(request, response);
    return;
  }
  if ('raw' in answer) {
    response.writeHead(answer.status ?? 200, answer.headers).end(answer.raw);
    return;
  }
  const headers = { 'content-type': 'text/xml; charset=utf-8' };
  if ('fault' in answer) {
    const content =
      `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>${answer.message ?? ''}</faultstring>` +
      `<detail>${answer.detail ?? ''}</detail></soapenv:Fault>`;
    response.writeHead(500, headers).end(soap(content));
    return;
  }
  if (answer.setCookie !== undefined) response.setHeader('set-cookie', answer.setCookie);
  const content = `<${method}Response xmlns="urn:vim25">${answer.values.join('')}</${method}Response>`;
  response.writeHead(200, headers).end(soap(content));
}

export function soap(content: string): string {
  return (
    `<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope ` +
    `xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ${NAMESPACES}>\n` +
    `<soapenv:Body>\n${content}\n</soapenv:Body>\n</soapenv:Envelope>`
  );
}
