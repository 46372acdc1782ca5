"""Registries: names, manifests, what their layers mean, access, download and upload.

names.py      a source text as a Place: host, repository, tag or digest
settings.py   what the environment says of registries: mirror, tokens, logins
manifest.py   bytes from a registry as a Manifest or an Index, strictly checked
media.py      media types of Ollama, Docker models and ModelPack
layers.py     a manifest as the files and small texts of a model
texts.py      template, system, parameters, messages and licence, read and written
access.py     who may see what: challenges, tokens, logins
remote.py     one repository of one registry, asked over HTTP
upload.py     one blob to a registry
package.py    a model as the manifest of a dialect
push.py       a whole model to a registry

Protocols: the OCI distribution specification 1.1, Docker's token authentication, Ollama's registry.
"""
