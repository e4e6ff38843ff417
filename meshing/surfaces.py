from turgor.meshing.anatomy import *
def from_surfaces(spec,rim,log): raise NotImplementedError
