// Values of the vSphere API as they go over the wire, with the names of their types, because where the schema says "any"
// the type goes along.

export type Value = Scalar | Reference | DataObject | List;

interface Scalar {
  readonly kind: 'scalar';
  /** `xsd:string`, or the name of an enumeration. */
  readonly type: string;
  readonly text: string;
}

export interface Reference {
  readonly kind: 'reference';
  readonly type: string;
  readonly moref: string;
}

export interface DataObject {
  readonly kind: 'object';
  readonly type: string;
  /** In the order of the schema, base types first. Undefined ones are left out. */
  readonly fields: Readonly<Record<string, Value | undefined>>;
  /** Whether the place where it stands declares only a base type, so that its own goes along. */
  readonly subtype: boolean;
}

export interface List {
  readonly kind: 'list';
  /** The type of the items: `VirtualDevice`, `xsd:int`, `ManagedObjectReference`. */
  readonly of: string;
  readonly items: readonly Value[];
}

export type Fields = DataObject['fields'];

const scalar = (type: string, text: string): Scalar => ({ kind: 'scalar', type, text });

export const text = (value: string): Value => scalar('xsd:string', value);
export const int = (value: number): Value => scalar('xsd:int', String(value));
export const long = (value: number): Value => scalar('xsd:long', String(value));
export const boolean = (value: boolean): Value => scalar('xsd:boolean', String(value));
export const time = (value: Date | string): Value => scalar('xsd:dateTime', new Date(value).toISOString());
export const enumeration = (type: string, value: string): Value => scalar(type, value);

export const reference = (type: string, moref: string): Reference => ({ kind: 'reference', type, moref });

export const object = (type: string, fields: Fields): DataObject => ({
  kind: 'object',
  type,
  fields,
  subtype: false,
});

/** An object where the schema declares only its base type: a VirtualDisk among devices. */
export const subtype = (type: string, fields: Fields): DataObject => ({
  kind: 'object',
  type,
  fields,
  subtype: true,
});

export const list = (of: string, items: readonly Value[]): Value => ({ kind: 'list', of, items });

export const references = (items: readonly Reference[]): Value => list('ManagedObjectReference', items);

export const texts = (items: readonly string[]): Value =>
  list(
    'xsd:string',
    items.map((item) => text(item)),
  );
