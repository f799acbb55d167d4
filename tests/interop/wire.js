// Messages and services of dief.v1 from a descriptor set, as `protos/build_hook.py image` or protoc writes it.
'use strict';

const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

class Wire {
  constructor(imageFile) {
    const options = { keepCase: true, longs: String, defaults: true, oneofs: true };
    this._definition = loader.loadFileDescriptorSetFromBuffer(fs.readFileSync(imageFile), options);
    this.services = grpc.loadPackageDefinition(this._definition).dief.v1;
  }

  decode(name, bytes) {
    return this._definition[`dief.v1.${name}`].deserialize(bytes);
  }

  encode(name, value) {
    return this._definition[`dief.v1.${name}`].serialize(value);
  }
}

module.exports = { Wire };
